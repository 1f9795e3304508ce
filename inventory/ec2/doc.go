// Package ec2 reports what an AWS account holds: instances, network interfaces and
// the Lambda functions that are attached to a VPC, of several regions and accounts.
//
// A source is read in parts, one for each account and region. A part is complete or it
// is an error, and each is remembered apart: a region that fails keeps its own last good
// report, and nobody else's (inventory.Heard.Of).
//
// Whether an address belongs to an asset here is AWS's word, which nobody on the network
// can forge; but whoever may set tags says which labels, and thus which groups, an asset
// has. The source reads and never writes.
package ec2
