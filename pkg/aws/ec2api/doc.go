// Package ec2api is all of AWS that Bulkhead speaks to: the reads that the inventory
// and the security group driver need, and the few writes of the driver, as plain
// values and plain errors. Nothing else imports the SDK's service/ec2, which takes
// minutes to compile.
//
// A read goes through every page or is an error; a short one would pass for a network
// that shrank. What it returns is in one order, whatever order AWS answered in. Each
// call names the IAM action that it needs (Actions), waits for the client's own limiter
// of that action, since AWS throttles by account, region and action and other programs
// of the account draw on the same buckets, and fails as an *Error.
//
// What AWS means is told by its reference, https://docs.aws.amazon.com/AWSEC2/latest/APIReference/;
// the fields here are named after what they hold, not after the reference.
package ec2api
