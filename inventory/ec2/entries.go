package ec2

import (
	"fmt"
	"slices"
	"strings"

	"bulkhead/inventory"
	"bulkhead/pkg/aws/ec2api"
)

func (b *builder) instance(x *ec2api.Instance) {
	a := b.make(x.ID, inventory.Instance, x.Tags,
		"account", x.Owner, "vpc", x.VPC, "subnet", x.Subnet, "availability_zone", x.Zone,
		"image", x.Image, "image_name", b.images[x.Image], "platform", x.Platform, "architecture", x.Architecture,
		"instance_type", x.Type, "iam_role", lastOf(x.Profile), "state", x.State, "hostname", x.PrivateDNS)
	for i := range x.Interfaces {
		b.plug(a, &x.Interfaces[i])
		mac(a, &x.Interfaces[i])
	}
}

// unseen is an interface of an instance that was not among those that AWS told of:
// another account's in a shared VPC, or one whose primary interface is in a VPC that the
// source leaves out.
func (b *builder) unseen(n *ec2api.Interface) {
	if _, service := n.Service(); service {
		b.alone(n) // of an instance of the service's own account, as load balancers are
		return
	}
	a := b.make(n.Instance, inventory.Instance, nil, "account", n.Owner, "vpc", n.VPC)
	if n.DeviceIndex == 0 {
		b.make(n.Instance, inventory.Instance, nil, "subnet", n.Subnet, "availability_zone", n.Zone)
	}
	b.plug(a, n)
	mac(a, n)
}

// alone is an interface that stands for itself.
func (b *builder) alone(n *ec2api.Interface) {
	kind := inventory.External
	service, managed := n.Service()
	if n.Type == "branch" || service.Name == "ecs" {
		kind = inventory.Container
	}
	a := b.make(n.ID, kind, n.Tags,
		"account", n.Owner, "vpc", n.VPC, "subnet", n.Subnet, "availability_zone", n.Zone,
		"interface_type", n.Type, "state", n.Status, "description", n.Description,
		"service", service.Name, "service_resource", service.Resource, "groups_changed_by", service.Call)
	b.plug(a, n)
	if !managed {
		mac(a, n)
	}
}

// functions reports the Lambda functions, each with the interfaces that its traffic
// takes: those of Lambda in its subnets that have its security groups.
func (b *builder) functions(taken map[string]bool) {
	type through struct{ vpc, subnet, groups string }
	at := map[through][]*ec2api.Interface{}
	for i := range b.w.Interfaces {
		n := &b.w.Interfaces[i]
		if s, _ := n.Service(); s.Name == "lambda" && !taken[n.ID] {
			k := through{n.VPC, n.Subnet, fmt.Sprint(n.Groups)}
			at[k] = append(at[k], n)
		}
	}
	uses := map[string]int{} // interface -> functions
	each := func(f *ec2api.Function, do func(n *ec2api.Interface)) {
		for _, subnet := range f.Subnets {
			for _, n := range at[through{f.VPC, subnet, fmt.Sprint(f.Groups)}] {
				do(n)
			}
		}
	}
	for i := range b.w.Functions {
		each(&b.w.Functions[i], func(n *ec2api.Interface) { uses[n.ID]++ })
	}
	for i := range b.w.Functions {
		f := &b.w.Functions[i]
		a := b.make(f.ARN, inventory.Function, f.Tags, "account", f.Owner, "vpc", f.VPC, "function_name", f.Name,
			"runtime", f.Runtime, "iam_role", lastOf(f.Role), "state", f.State, "service", "lambda")
		if len(f.Subnets) == 1 {
			a.Attributes["subnet"] = f.Subnets[0]
		}
		if b.s.Functions == FunctionsManage {
			a.Attributes["managed"] = "true"
		}
		each(f, func(n *ec2api.Interface) {
			b.plug(a, n)
			taken[n.ID] = true
			if uses[n.ID] > 1 {
				a.Attributes["shares_interface"] = "true"
			}
		})
	}
}

// lastOf is the name at the end of an ARN: of an instance profile or a role, which may
// have a path before it.
func lastOf(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// imagesOf lists the images that instances were made of.
func imagesOf(list []ec2api.Instance) []string {
	var out []string
	for i := range list {
		if list[i].Image != "" && list[i].State != "terminated" {
			out = append(out, list[i].Image)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
