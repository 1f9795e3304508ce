// Package awstest is a stand-in for the parts of AWS that the controller speaks to:
// EC2's query protocol, STS's, the Auto Scaling groups of Auto Scaling's, and the little of
// Lambda's REST that moves a function between security groups. It is for tests and for a demo that says it is simulated.
//
// It is at least as strict as AWS: a stand-in that is kinder than the real thing lets
// a driver pass that the real thing refuses. Where it is not known what AWS does, it
// refuses. What it holds to is written as a table of calls through the real SDK, the
// contract, which other endpoints can be held to as well:
//
//	EC2_ENDPOINT=http://127.0.0.1:4566 EC2_TARGET=kumo go test ./drivers/aws/awstest -run TestContract
//
// A test makes a World, puts accounts, regions and what lies in them there, and speaks
// to it as to AWS:
//
//	w := awstest.New()
//	r := w.AddAccount("111122223333").Region("eu-central-1")
//	vpc := r.AddVPC("main", "10.0.0.0/16")
//	subnet := r.AddSubnet(vpc, "eu-central-1a", "10.0.1.0/24", "")
//	web := r.AddInstance(awstest.InstanceSpec{Name: "web", Interfaces: []awstest.InterfaceSpec{{Subnet: subnet}}})
//	key := w.AddAccount("111122223333").AddKey("controller", "ec2:*")
//	cfg := aws.Config{
//		Region: "eu-central-1", BaseEndpoint: aws.String("http://aws.test"), HTTPClient: w.HTTPClient(),
//		Credentials: credentials.NewStaticCredentialsProvider(key.ID, key.Secret, ""),
//	}
//
// One endpoint is all regions and accounts: the region is that of the credentials'
// scope, the account that of the access key. HTTPClient needs no network, so that it
// works in a bubble of testing/synctest; Start serves the loopback.
//
// What a driver did is told by the world itself: Permits and Permitted say what the
// groups that are attached now let through, by AWS's documentation and by no code of a
// driver's; Calls says what was called; OnMutation looks at every single write.
//
// What goes wrong with AWS goes wrong when a test says so: FailNext, FailMutation,
// LoseAnswers, LoseRequests, StaleReads, FlappingReads, HideNewGroups, DetachLag,
// VanishOnSwap, SparsePages. Token buckets are on from the start, with AWS's numbers.
//
// The protocol is that of the EC2 API reference, version 2016-11-15. Not there: VPC
// associations of groups, groups shared by RAM, transit gateways, network ACLs,
// conditions in IAM policies, and the tracking of connections.
package awstest
