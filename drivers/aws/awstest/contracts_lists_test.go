package awstest_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func ofTags() []contract {
	tag := func(key, value string) func(*bench) error {
		return func(b *bench) error {
			_, err := b.api.CreateTags(b.t.Context(), &ec2.CreateTagsInput{Resources: []string{b.id}, Tags: []types.Tag{{Key: &key, Value: &value}}})
			return err
		}
	}
	tags := func(want int) func(*bench) string {
		return func(b *bench) string {
			if got := len(b.read(b.id).Tags); got != want {
				return fmt.Sprintf("%d tags", got)
			}
			return ""
		}
	}
	return []contract{
		{name: "a group is tagged", call: tag("a", "1"), state: tags(1)},
		{name: "AWS's tags are AWS's", call: tag("aws:a", "1"), code: "InvalidParameterValue"},
		{name: "a key has at most 127 characters, or 128", call: tag(strings.Repeat("k", 129), "1"), code: "InvalidParameterValue"},
		{name: "a value has at most 256 characters", call: tag("a", strings.Repeat("v", 257)), code: "InvalidParameterValue"},
		{name: "at most 50 tags", call: func(b *bench) error {
			var all []types.Tag
			for i := range 50 {
				all = append(all, types.Tag{Key: aws.String(fmt.Sprint("k", i)), Value: aws.String("")})
			}
			_, err := b.api.CreateTags(b.t.Context(), &ec2.CreateTagsInput{Resources: []string{b.id}, Tags: all})
			b.must(err)
			return tag("one more", "")(b)
		}, code: "TagLimitExceeded", state: tags(50)},
		{name: "a tag of another value stays", call: func(b *bench) error {
			b.must(tag("a", "1")(b))
			_, err := b.api.DeleteTags(b.t.Context(), &ec2.DeleteTagsInput{Resources: []string{b.id}, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("2")}}})
			return err
		}, state: tags(1)},
		{name: "a tag goes by its key", call: func(b *bench) error {
			b.must(tag("a", "1")(b))
			_, err := b.api.DeleteTags(b.t.Context(), &ec2.DeleteTagsInput{Resources: []string{b.id}, Tags: []types.Tag{{Key: aws.String("a")}}})
			return err
		}, state: tags(0)},
		{name: "a group is made with tags of a group", call: func(b *bench) error {
			_, err := b.api.CreateSecurityGroup(b.t.Context(), &ec2.CreateSecurityGroupInput{GroupName: aws.String(b.name()), Description: aws.String("test"), VpcId: &b.vpc,
				TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeVpc, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("1")}}}}})
			return err
		}, code: "InvalidParameterValue"},
	}
}

// list makes a prefix list and waits for it.
func (b *bench) list(most int32, networks ...string) string {
	var es []types.AddPrefixListEntry
	for _, n := range networks {
		es = append(es, types.AddPrefixListEntry{Cidr: &n})
	}
	out, err := b.api.CreateManagedPrefixList(b.t.Context(), &ec2.CreateManagedPrefixListInput{
		PrefixListName: aws.String(b.name()), AddressFamily: aws.String("IPv4"), MaxEntries: &most, Entries: es})
	b.must(err)
	id := *out.PrefixList.PrefixListId
	b.t.(interface{ Cleanup(func()) }).Cleanup(func() {
		b.drop(b.api.RevokeSecurityGroupIngress(b.after(), &ec2.RevokeSecurityGroupIngressInput{GroupId: &b.id, IpPermissions: []types.IpPermission{listed(id)}}))
		b.drop(b.api.DeleteManagedPrefixList(b.after(), &ec2.DeleteManagedPrefixListInput{PrefixListId: &id}))
	})
	b.settle(id)
	return id
}

// settle waits until no change of a list is in progress.
func (b *bench) settle(id string) types.ManagedPrefixList {
	for range 60 {
		got, err := b.api.DescribeManagedPrefixLists(b.t.Context(), &ec2.DescribeManagedPrefixListsInput{PrefixListIds: []string{id}})
		b.must(err)
		if l := got.PrefixLists[0]; !strings.HasSuffix(string(l.State), "-in-progress") {
			return l
		}
		if !b.mine {
			time.Sleep(time.Second)
		}
	}
	b.t.Fatal("the prefix list is never complete")
	return types.ManagedPrefixList{}
}

func listed(id string) types.IpPermission {
	return types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(1), ToPort: aws.Int32(1), PrefixListIds: []types.PrefixListId{{PrefixListId: &id}}}
}

func (b *bench) amend(id string, version int64, add ...string) error {
	in := &ec2.ModifyManagedPrefixListInput{PrefixListId: &id, CurrentVersion: &version}
	for _, n := range add {
		in.AddEntries = append(in.AddEntries, types.AddPrefixListEntry{Cidr: &n})
	}
	_, err := b.api.ModifyManagedPrefixList(b.t.Context(), in)
	return err
}

func ofPrefixLists() []contract {
	const lists = "prefix lists"
	return []contract{
		{name: "a prefix list weighs what it may hold", needs: lists, call: func(b *bench) error { return b.ingress(listed(b.list(61, "10.0.0.0/8"))) },
			code: "RulesPerSecurityGroupLimitExceeded"},
		{name: "in its own family alone", needs: lists, call: func(b *bench) error {
			b.must(b.ingress(v6("tcp", 1, 1, "2001:db8::/32")))
			return b.ingress(listed(b.list(60, "10.0.0.0/8")))
		}},
		{name: "a prefix list is changed at its version", needs: lists, call: func(b *bench) error { return b.amend(b.list(5, "10.0.0.0/8"), 7, "10.1.0.0/16") },
			code: "PrefixListVersionMismatch"},
		{name: "a change is a version", needs: lists, call: func(b *bench) error {
			id := b.list(5, "10.0.0.0/8")
			b.must(b.amend(id, 1, "192.168.0.0/16"))
			b.settle(id)
			return b.amend(id, 1, "172.16.0.0/12")
		}, code: "PrefixListVersionMismatch"},
		{name: "a change takes a while", needs: lists, call: func(b *bench) error {
			id := b.list(5, "10.0.0.0/8")
			b.must(b.amend(id, 1, "192.168.0.0/16"))
			err := b.amend(id, 2, "172.16.0.0/12")
			b.settle(id)
			return err
		}, code: "IncorrectState"},
		{name: "a prefix list does not overflow", needs: lists, call: func(b *bench) error {
			return b.amend(b.list(1, "10.0.0.0/8"), 1, "192.168.0.0/16")
		}, code: "PrefixListMaxEntriesExceeded"},
		{name: "a prefix list is of one family", needs: lists, call: func(b *bench) error { return b.amend(b.list(5, "10.0.0.0/8"), 1, "2001:db8::/32") },
			code: "InvalidParameterValue"},
		{name: "who refers to it must have room", needs: lists, call: func(b *bench) error {
			id := b.list(60, "10.0.0.0/8")
			b.must(b.ingress(listed(id)))
			_, err := b.api.ModifyManagedPrefixList(b.t.Context(), &ec2.ModifyManagedPrefixListInput{PrefixListId: &id, MaxEntries: aws.Int32(61)})
			b.must(err)
			if got := b.settle(id); got.State != types.PrefixListStateModifyFailed || *got.MaxEntries != 60 || !strings.Contains(*got.StateMessage, b.id) {
				return fmt.Errorf("the list is in state %s", got.State)
			}
			return nil
		}},
		{name: "a list that is referred to stays", needs: lists, call: func(b *bench) error {
			id := b.list(5, "10.0.0.0/8")
			b.must(b.ingress(listed(id)))
			_, err := b.api.DeleteManagedPrefixList(b.t.Context(), &ec2.DeleteManagedPrefixListInput{PrefixListId: &id})
			return err
		}, code: "DependencyViolation"},
	}
}
