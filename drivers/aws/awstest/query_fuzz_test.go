package awstest

import (
	"net/url"
	"testing"
)

// No form makes the decoder panic, every call that it leads to is answered with a
// refusal or an answer, and nothing that was given goes unread without one.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{
		"Action=DescribeVpcs&Version=2016-11-15",
		"Action=DescribeSecurityGroups&Version=2016-11-15&Filter.1.Name=vpc-id&Filter.1.Value.1=vpc-0&MaxResults=5&NextToken=x",
		"Action=AuthorizeSecurityGroupIngress&Version=2016-11-15&GroupId=sg-0&IpPermissions.1.IpProtocol=6&IpPermissions.1.FromPort=1&IpPermissions.1.ToPort=2&IpPermissions.1.IpRanges.1.CidrIp=10.0.0.1%2F8&TagSpecification.1.ResourceType=security-group-rule",
		"Action=ModifySecurityGroupRules&Version=2016-11-15&GroupId=sg-0&SecurityGroupRule.1.SecurityGroupRuleId=sgr-0&SecurityGroupRule.1.SecurityGroupRule.IpProtocol=-1",
		"Action=ModifyNetworkInterfaceAttribute&Version=2016-11-15&NetworkInterfaceId=eni-0&SecurityGroupId.1=sg-0&ConnectionTrackingSpecification.UdpTimeout=9",
		"Action=CreateManagedPrefixList&Version=2016-11-15&Entry.1.Cidr=10.0.0.0/8&MaxEntries=1&AddressFamily=IPv4&PrefixListName=l",
		"a.b.c=1&a.b=2&a=3", "a..b=1", "%zz", "a;b", "DryRun=true&Action=CreateTags&ResourceId.1=sg-0&Tag.1.Key=aws:x", "&&&=",
	} {
		f.Add(s)
	}
	w := New()
	w.Unthrottled()
	r := w.AddAccount("111122223333").Region("eu-central-1")
	vpc := r.AddVPC("v", "10.0.0.0/16")
	who := w.keys[w.AddAccount("111122223333").AddKey("fuzz", "ec2:*").ID].who
	r.AddSubnet(vpc, "a", "10.0.0.0/24", "")
	actions := ec2Actions()
	f.Fuzz(func(t *testing.T, body string) {
		p, err := decodeQuery(body)
		if err != nil {
			if codeOf(err) == "" {
				t.Fatalf("%q is refused with %v, which is no refusal of AWS's", body, err)
			}
			return
		}
		given, _ := url.ParseQuery(body)
		flat := map[string]string{}
		p.d.root.flat("", flat)
		if len(flat) != len(given) {
			t.Fatalf("%q has %d parameters and %d were read", body, len(given), len(flat))
		}
		a, ok := actions[p.str("Action")]
		p.str("Version")
		if !ok {
			if len(given) > 1 && p.done() == nil && !(len(given) == 2 && p.has("Action") && p.has("Version")) {
				t.Fatalf("%q is taken with parameters that nobody has read", body)
			}
			return
		}
		c := &call{w: w, region: "eu-central-1", account: "111122223333", who: who, p: p, seen: Call{Service: "ec2", Action: p.str("Action"), Params: flat}}
		if _, err := w.perform(c, a); err != nil && codeOf(err) == "" {
			t.Fatalf("%q fails with %v, which is no refusal of AWS's", body, err)
		}
		if len(w.Calls()) > 1000 {
			w.ResetCalls()
		}
	})
}
