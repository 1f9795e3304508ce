package awstest_test

import (
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// contracts are all of them, each known by its name.
func contracts() []contract {
	var out []contract
	for _, of := range [][]contract{ofNames(), ofRules(), ofRevoking(), ofDeleting(), ofSwapping(), ofReading(), ofTags(), ofPrefixLists()} {
		out = append(out, of...)
	}
	return out
}

func ofNames() []contract {
	made := func(name, description string) func(*bench) error {
		return func(b *bench) error { _, err := b.create(name, description, b.vpc); return err }
	}
	again := func(change func(string) string) func(*bench) error {
		return func(b *bench) error {
			_, err := b.create(change(*b.read(b.id).GroupName), "test", b.vpc)
			return err
		}
	}
	return []contract{
		{name: "a name has no quotes", call: made(`a"b`, "test"), code: "InvalidParameterValue"},
		{name: "a name has no letters beyond ASCII", call: made("grün", "test"), code: "InvalidParameterValue"},
		{name: "a name is not like an id", call: made("sg-abc", "test"), code: "InvalidParameterValue"},
		{name: "a name has at most 255 characters", call: made(strings.Repeat("a", 256), "test"), code: "InvalidParameterValue"},
		{name: "the default group's name is taken", call: made("default", "test"), code: "InvalidParameterValue"},
		{name: "a description is required", call: made("described", ""), code: "MissingParameter"},
		{name: "a description has no quotes", call: made("described", "it's"), code: "InvalidParameterValue"},
		{name: "a name is unique in the VPC", call: again(strings.Clone), code: "InvalidGroup.Duplicate"},
		{name: "a name is unique in any case", call: again(strings.ToUpper), code: "InvalidGroup.Duplicate"},
		{name: "spaces after a name are none", call: again(func(s string) string { return s + "  " }), code: "InvalidGroup.Duplicate"},
		{name: "a name is free in another VPC", call: func(b *bench) error {
			id, err := b.create(*b.read(b.id).GroupName, "test", b.other)
			if err == nil {
				err = b.remove(id)
			}
			return err
		}},
		{name: "a new group lets all out and nothing in", call: func(*bench) error { return nil }, state: func(b *bench) string {
			g := b.read(b.id)
			if len(g.IpPermissions) != 0 || len(g.IpPermissionsEgress) != 1 || *g.IpPermissionsEgress[0].IpProtocol != "-1" ||
				g.IpPermissionsEgress[0].FromPort != nil || *g.IpPermissionsEgress[0].IpRanges[0].CidrIp != "0.0.0.0/0" {
				return fmt.Sprintf("%d permissions in, %d out", len(g.IpPermissions), len(g.IpPermissionsEgress))
			}
			return ""
		}},
		{name: "a VPC must be there", call: func(b *bench) error {
			_, err := b.create(b.name(), "test", "vpc-0123456789abcdef0")
			return err
		}, code: "InvalidVpcID.NotFound"},
	}
}

func ofDeleting() []contract {
	return []contract{
		{name: "a group that another refers to stays", call: func(b *bench) error {
			b.must(b.ingress(ref("tcp", 1, 1, b.id2)))
			return b.remove(b.id2)
		}, code: "DependencyViolation"},
		{name: "a group that refers to itself goes", call: func(b *bench) error {
			b.must(b.ingress(ref("tcp", 1, 1, b.id)))
			return b.remove(b.id)
		}},
		{name: "a group that refers to another goes", call: func(b *bench) error {
			b.must(b.ingress(ref("tcp", 1, 1, b.id2)))
			return b.remove(b.id)
		}},
		{name: "a group that is gone is not found", call: func(b *bench) error {
			b.must(b.remove(b.id))
			return b.remove(b.id)
		}, code: "InvalidGroup.NotFound"},
		{name: "the default group stays", call: func(b *bench) error {
			out, err := b.api.DescribeSecurityGroups(b.t.Context(), &ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{by("vpc-id", b.vpc), by("group-name", "default")}})
			b.must(err)
			if len(out.SecurityGroups) == 0 {
				return fmt.Errorf("there is none")
			}
			return b.remove(*out.SecurityGroups[0].GroupId)
		}, code: "CannotDelete"},
		{name: "a group that is carried stays", needs: "interfaces", call: func(b *bench) error { return b.remove(b.base) }, code: "DependencyViolation"},
		{name: "an id has a form", call: func(b *bench) error { return b.remove("app") }, code: "InvalidGroupId.Malformed"},
	}
}

func ofSwapping() []contract {
	carried := func(b *bench) string {
		out, err := b.api.DescribeNetworkInterfaces(b.t.Context(), &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{b.nic}})
		b.must(err)
		var ids []string
		for _, g := range out.NetworkInterfaces[0].Groups {
			ids = append(ids, *g.GroupId)
		}
		return strings.Join(ids, " ")
	}
	return []contract{
		{name: "a swap replaces all groups", needs: "interfaces", call: func(b *bench) error {
			b.must(b.swap(b.id))
			return b.swap(b.base)
		}, state: func(b *bench) string {
			if got := carried(b); got != b.base {
				return got
			}
			return ""
		}},
		{name: "an interface carries at least one group", needs: "interfaces", call: func(b *bench) error { return b.swap() }, code: "InvalidParameterCombination"},
		{name: "not a group of another VPC", needs: "interfaces", call: func(b *bench) error { return b.swap(b.base, b.group(b.other)) }, code: "InvalidGroup.NotFound"},
		{name: "not a group that is not there", needs: "interfaces", call: func(b *bench) error { return b.swap("sg-0123456789abcdef0") }, code: "InvalidGroup.NotFound"},
		{name: "not six groups", needs: "interfaces", call: func(b *bench) error {
			return b.swap(b.base, b.id, b.id2, b.group(b.vpc), b.group(b.vpc), b.group(b.vpc))
		}, code: "SecurityGroupsPerInterfaceLimitExceeded"},
		{name: "an interface must be there", needs: "interfaces", call: func(b *bench) error {
			_, err := b.api.ModifyNetworkInterfaceAttribute(b.t.Context(), &ec2.ModifyNetworkInterfaceAttributeInput{
				NetworkInterfaceId: aws.String("eni-0123456789abcdef0"), Groups: []string{b.base}})
			return err
		}, code: "InvalidNetworkInterfaceID.NotFound"},
	}
}

func ofReading() []contract {
	read := func(in func(*bench) ec2.DescribeSecurityGroupsInput) func(*bench) error {
		return func(b *bench) error {
			v := in(b)
			_, err := b.api.DescribeSecurityGroups(b.t.Context(), &v)
			return err
		}
	}
	return []contract{
		{name: "a page has at least five", call: read(func(*bench) ec2.DescribeSecurityGroupsInput {
			return ec2.DescribeSecurityGroupsInput{MaxResults: aws.Int32(4)}
		}), code: "InvalidParameterValue"},
		{name: "a page has at most a thousand", call: read(func(*bench) ec2.DescribeSecurityGroupsInput {
			return ec2.DescribeSecurityGroupsInput{MaxResults: aws.Int32(1001)}
		}), code: "InvalidParameterValue"},
		{name: "no pages of ids", call: read(func(b *bench) ec2.DescribeSecurityGroupsInput {
			return ec2.DescribeSecurityGroupsInput{MaxResults: aws.Int32(5), GroupIds: []string{b.id}}
		}), code: "InvalidParameterCombination"},
		{name: "a token is not made up", call: read(func(*bench) ec2.DescribeSecurityGroupsInput {
			return ec2.DescribeSecurityGroupsInput{MaxResults: aws.Int32(5), NextToken: aws.String("abc")}
		}), code: "InvalidPaginationToken"},
		{name: "a filter is known", call: read(func(b *bench) ec2.DescribeSecurityGroupsInput {
			return ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{by("vpc", b.vpc)}}
		}), code: "InvalidParameterValue"},
		{name: "a group must be there to be read", call: read(func(*bench) ec2.DescribeSecurityGroupsInput {
			return ec2.DescribeSecurityGroupsInput{GroupIds: []string{"sg-0123456789abcdef0"}}
		}), code: "InvalidGroup.NotFound"},
		{name: "pages lead to all", call: func(*bench) error { return nil }, state: func(b *bench) string {
			for range 8 {
				b.group(b.vpc)
			}
			seen := map[string]bool{}
			for pages := ec2.NewDescribeSecurityGroupsPaginator(b.api, &ec2.DescribeSecurityGroupsInput{MaxResults: aws.Int32(5), Filters: []types.Filter{by("vpc-id", b.vpc)}}); pages.HasMorePages(); {
				out, err := pages.NextPage(b.t.Context())
				if err != nil {
					return err.Error()
				}
				if len(out.SecurityGroups) > 5 {
					return fmt.Sprintf("%d in a page", len(out.SecurityGroups))
				}
				for _, g := range out.SecurityGroups {
					seen[*g.GroupId] = true
				}
			}
			if !seen[b.id] || !seen[b.id2] || len(seen) < 10 {
				return fmt.Sprintf("%d groups in all pages", len(seen))
			}
			return ""
		}},
	}
}
