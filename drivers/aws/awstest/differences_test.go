package awstest_test

// difference is how a target is known to differ from what the contracts say.
type difference struct {
	lacks map[string]bool   // kinds of things that it does not have at all
	of    map[string]string // what it answers instead, by the contract's name
}

// varies is the answer of a target that does not always give the same one.
const varies = "*"

// differences are by the name of the target: EC2_TARGET, "aws" if only EC2_ENDPOINT is
// set. A line here is a doubt about our own endpoint where the target is AWS, and about
// the target where it is an emulator; it fails as soon as it is true no longer.
var differences = map[string]difference{
	"awstest": {},
	"aws":     {}, // nobody has run it against an account yet
	"kumo":    kumo,
}
