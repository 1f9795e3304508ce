package ec2api

import "strings"

// weights are those of AWS's own prefix lists, by what their names end in (VPC user guide,
// "AWS-managed prefix list weight"): no call tells them.
var weights = map[string]int{
	"cloudfront.origin-facing": 55,
	"dynamodb":                 1,
	"ec2-instance-connect":     2,
	"groundstation":            5,
	"route53-healthchecks":     25,
	"s3":                       1,
	"s3express":                6,
	"vpc-lattice":              10,
}

// Weight is what a rule that names the list counts in the quota of its group: the most
// that the list may hold, whatever it holds. Of a list of AWS it is what AWS says; known
// is false for one that AWS has added since.
func (l *PrefixList) Weight() (n int, known bool) {
	if l.Owner != "AWS" {
		return l.MaxEntries, l.MaxEntries > 0
	}
	// com.amazonaws.REGION.NAME, com.amazonaws.global.ipv6.NAME and the like
	p := strings.SplitN(l.Name, ".", 4)
	if len(p) < 4 || p[0] != "com" || p[1] != "amazonaws" {
		return 0, false
	}
	n, known = weights[strings.TrimPrefix(p[3], "ipv6.")]
	return n, known
}
