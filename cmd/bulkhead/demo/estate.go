package demo

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"bulkhead/drivers/aws/awstest"
	"bulkhead/pkg/aws/ec2api"
)

// The simulated account. Its instances are those of examples/hybrid/inventory/cloud.csv.
const (
	simAccount = "111122223333"
	simRegion  = "eu-central-1"
)

// estate is the AWS of the demo: a simulation, with two peered VPCs.
type estate struct {
	w  *awstest.World
	r  awstest.Region
	in map[string]machine // by the tag Name
	// wizard is a group of somebody else's in the VPC of the application: ssh from anywhere.
	wizard string
}

// machine is an instance of the estate.
type machine struct {
	instance, eni, addr string
}

// newEstate makes the estate as somebody built it by hand: every instance carries a group
// that lets everything in from the site, and some let ssh in from anywhere.
func newEstate() *estate {
	e := &estate{w: awstest.New(), in: map[string]machine{}}
	e.r = e.w.AddAccount(simAccount).Region(simRegion)
	app, data := e.r.AddVPC("app", "10.40.0.0/16"), e.r.AddVPC("data", "10.41.0.0/16")
	e.r.AddPeering(app, e.r, data)
	subnets := map[string]string{
		app: e.r.AddSubnet(app, simRegion+"a", "10.40.1.0/24", ""), data: e.r.AddSubnet(data, simRegion+"a", "10.41.1.0/24", ""),
	}
	groups := map[string][]string{}
	for _, vpc := range []string{app, data} {
		groups[vpc] = []string{e.r.AddGroup(awstest.GroupSpec{VPC: vpc, Name: "inside", Description: "everything inside", Ingress: []awstest.RuleSpec{{CIDR: "10.0.0.0/8"}}})}
	}
	e.wizard = e.r.AddGroup(awstest.GroupSpec{VPC: app, Name: "launch-wizard-1", Description: "launch-wizard-1 created by hand",
		Ingress: []awstest.RuleSpec{{Protocol: "tcp", From: 22, CIDR: "0.0.0.0/0"}}})
	groups[app] = append(groups[app], e.wizard)
	for _, m := range []struct{ name, vpc, addr, app string }{
		{"collector-1", app, "10.40.1.11", "collector"},
		{"collector-2", app, "10.40.1.12", "collector"},
		{"dashboard-1", app, "10.40.1.21", "dashboard"},
		{"dashboard-2", app, "10.40.1.22", "dashboard"},
		{"store-1", data, "10.41.1.11", "store"},
		{"batch-1", data, "10.41.1.21", "batch"},
	} {
		i := e.r.AddInstance(awstest.InstanceSpec{Name: m.name, Tags: map[string]string{"app": m.app},
			Interfaces: []awstest.InterfaceSpec{{Subnet: subnets[m.vpc], Groups: groups[m.vpc], Private: []string{m.addr}}}})
		e.in[m.name] = machine{instance: i, eni: e.r.InterfacesOf(i)[0].ID, addr: m.addr}
	}
	return e
}

// names lists the instances.
func (e *estate) names() []string { return slices.Sorted(maps.Keys(e.in)) }

// key is allowed what the least policy allows, and nothing else.
func (e *estate) key() awstest.Key {
	return e.w.AddAccount(simAccount).AddKey("bulkhead", ec2api.ActionsFor(ec2api.Inventory, ec2api.Observe, ec2api.Enforce)...)
}

// tag is what an instance is tagged with.
func (e *estate) tag(name, key string) string {
	i, _ := e.r.Instance(e.in[name].instance)
	return i.Tags[key]
}

// retag sets the tag "app" of an instance, as its owner would.
func (e *estate) retag(name, app string) {
	e.r.SetTags(e.in[name].instance, map[string]string{"Name": name, "app": app})
}

// permits asks the simulated groups: those of either end, of which "" has none here.
func (e *estate) permits(from, to string, src, dst netip.Addr, s sample) bool {
	f := awstest.Flow{From: from, To: to, Src: src, Dst: dst, Protocol: s.proto, Port: s.num}
	if s.proto == 1 || s.proto == 58 {
		f.Port, f.Type, f.Code = 0, uint8(s.num>>8), uint8(s.num)
	}
	return e.w.Permits(f)
}

// exposed lists the instances that let ssh in from somewhere on the internet.
func (e *estate) exposed() (out []string) {
	for _, name := range e.names() {
		m := e.in[name]
		if e.permits("", m.eni, netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr(m.addr), sample{proto: 6, num: 22}) {
			out = append(out, name)
		}
	}
	return out
}

// groupsOf gives the groups that an instance carries, by name.
func (e *estate) groupsOf(name string) (out []string) {
	i, _ := e.r.Interface(e.in[name].eni)
	for _, id := range i.Groups {
		g, _ := e.r.Group(id)
		out = append(out, g.Name)
	}
	return out
}

// written counts the writes since the log was emptied, by action.
func (e *estate) written() map[string]int {
	out := map[string]int{}
	for _, c := range e.w.Mutations() {
		out[c.Action]++
	}
	return out
}

// asked counts the calls that read, each page of an answer for itself.
func (e *estate) asked() (n int) {
	for _, c := range e.w.Calls() {
		if strings.HasPrefix(c.Action, "Describe") || strings.HasPrefix(c.Action, "Get") {
			n++
		}
	}
	return n
}

// tamper changes a group of ours by hand: one rule more, or none that lets anything in.
func (e *estate) tamper(how string) {
	i, _ := e.r.Interface(e.in["collector-1"].eni)
	if how == BreakOpen {
		e.r.AddRules(i.Groups[0], false, awstest.RuleSpec{Protocol: "tcp", From: 22, CIDR: "10.0.0.0/8"})
		return
	}
	g, _ := e.r.Group(i.Groups[0])
	for _, r := range g.Rules {
		if !r.Egress {
			e.r.RemoveRules(g.ID, r.ID)
		}
	}
}
