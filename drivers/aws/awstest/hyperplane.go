package awstest

import (
	"slices"
	"strings"
)

// hyperplane makes the interfaces that the account's functions need, and takes away
// those that none does. A function that is being updated needs those that it has and
// those that it will have.
func (r Region) hyperplane(t *tables) {
	needed := map[string]bool{}
	for _, f := range sorted(t.functions) {
		if f.Account != r.Account {
			continue
		}
		for _, p := range []place{{f.Subnets, f.Groups}, f.runs()} {
			for _, s := range p.subnets {
				key := shared(s, p.groups)
				if needed[key] {
					continue
				}
				needed[key] = true
				if !slices.ContainsFunc(sorted(t.interfaces), func(i *Interface) bool { return i.Account == r.Account && i.hyperplane() == key }) {
					r.newInterface(t, InterfaceSpec{
						Subnet: s, Groups: p.groups, Type: "lambda", Requester: "AROAEXAMPLEAWSLAMBDA:" + f.Name,
						Description: "AWS Lambda VPC ENI-" + f.Name + "-" + r.w.hash("eni", key)[:8],
					})
				}
			}
		}
	}
	for id, i := range t.interfaces {
		if i.Account == r.Account && i.Type == "lambda" && !needed[i.hyperplane()] && !r.w.faults.linger {
			delete(t.interfaces, id)
		}
	}
}

// LingeringInterfaces lets interfaces stay that no function needs any more, as Lambda does
// for up to twenty minutes, until it is called with false.
func (w *World) LingeringInterfaces(on bool) {
	defer w.lock()()
	w.faults.linger = on
	if on {
		return
	}
	for name, in := range w.regions {
		t := in.t.clone()
		for id := range w.accounts {
			Region{w, id, name}.hyperplane(t)
		}
		in.t = t
	}
}

// shared is what functions that share an interface have in common.
func shared(subnet string, groups []string) string {
	return subnet + " " + strings.Join(slices.Sorted(slices.Values(groups)), " ")
}

// hyperplane is what functions that share the interface have in common, "" for others.
func (i *Interface) hyperplane() string {
	if i.Type != "lambda" {
		return ""
	}
	return shared(i.Subnet, i.Groups)
}

// InterfacesOfFunction gives the interfaces that a function's calls come from now: until
// an update is done those from before it.
func (r Region) InterfacesOfFunction(name string) []Interface {
	t := r.look()
	p := must(t.functions, functionARN(r.Name, r.Account, name)).runs()
	return owned(t.interfaces, func(i *Interface) bool {
		return slices.ContainsFunc(p.subnets, func(s string) bool { return i.hyperplane() == shared(s, p.groups) })
	})
}
