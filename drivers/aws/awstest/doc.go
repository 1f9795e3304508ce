// Package awstest is a stand-in for the parts of AWS that the controller speaks to:
// EC2's query protocol, STS's, and the little of Lambda's REST that moves a function
// between security groups. It is for tests and for a demo that says it is simulated.
//
// It is at least as strict as AWS: a stand-in that is kinder than the real thing lets
// a driver pass that the real thing refuses. Where it is not known what AWS does, it
// refuses.
package awstest
