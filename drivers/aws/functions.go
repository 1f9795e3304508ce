package aws

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"bulkhead/pkg/aws/ec2api"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// Lambda keeps an interface for each combination of subnet and groups, and refuses to have its
// groups changed: a function moves by UpdateFunctionConfiguration, and then comes from
// another interface with another address, which nobody can know before. A proof made before
// the move would be of an address that is no more. So a function is taken over in two passes:
//
//   - it is adopted: it moves, once, to a group of its own that lets through what its groups
//     did. Nothing judges it yet, and nothing that it may do changes but its address;
//   - when the inventory knows the address, the rules of that group change in place, added
//     before others are removed, as those of any group that keeps its interfaces. It never
//     moves again until it is let go.
//
// Functions that share an interface have the same address, so that a point which protects one
// protects all; each has an interface of its own from then on.

// Function is a Lambda function in a VPC.
type Function struct {
	ARN, Name, VPC string
	Subnets        []string
	Groups         []string // keys, sorted
}

// function finds a function.
func (s *State) function(arn string) *Function {
	i := slices.IndexFunc(s.Functions, func(f Function) bool { return f.ARN == arn })
	if i < 0 {
		return nil
	}
	return &s.Functions[i]
}

// own is the group of ours that a function has to itself; nil if it was not adopted.
func (s *State) own(arn string) *Group {
	i := slices.IndexFunc(s.Groups, func(g Group) bool { return g.Function == arn })
	if i < 0 || arn == "" {
		return nil
	}
	return &s.Groups[i]
}

// staged reports whether a group is a function's that nothing is enforced by yet, or no
// longer.
func (g *Group) staged() bool { return g.Function != "" && len(g.Points) == 0 }

// functions reads the functions, if they may be changed, or if one is to be let go.
func (r *reader) functions(ctx context.Context, c *ec2api.Client, groups []ec2api.Group) error {
	manage := r.d.settings.Functions
	if !manage && !slices.ContainsFunc(groups, func(g ec2api.Group) bool { return g.Tags[tagSite] == r.d.site && g.Tags[tagFunction] != "" }) {
		return nil
	}
	list, err := c.Functions(ctx, r.d.settings.VPCs...)
	if err != nil {
		return err
	}
	for _, f := range list {
		r.s.Functions = append(r.s.Functions, Function{ARN: f.ARN, Name: f.Name, VPC: f.VPC, Subnets: f.Subnets, Groups: f.Groups})
	}
	if !manage {
		return nil
	}
	rules, err := c.Rules(ctx)
	if err != nil {
		return err
	}
	r.s.named = map[string]bool{}
	for _, x := range rules {
		r.s.named[x.PeerGroup] = true
	}
	return nil
}

// adopted puts the keys of groups in, and finds the interfaces of functions that were adopted:
// their groups' rules are ours to change.
func (r *reader) adopted(want map[string]bool) {
	for i := range r.s.Functions {
		f := &r.s.Functions[i]
		for k, id := range f.Groups {
			want[id] = true
			if key, ok := r.own[id]; ok {
				f.Groups[k] = key
			}
		}
		slices.Sort(f.Groups)
	}
}

// adopts marks an interface that a function has to itself.
func (r *reader) adopts(n *Interface, own, key string) {
	// One that the function has left lingers, and is nobody's.
	if f := r.s.function(own); f != nil && r.d.settings.Functions && slices.Contains(f.Groups, key) {
		n.Function, n.Out, n.Service = own, "", ""
	}
}

// at reports whether an interface is one of those that a function's traffic takes.
func (f *Function) at(n *Interface) bool {
	return n.Service == "lambda" && n.VPC == f.VPC && slices.Contains(f.Subnets, n.Subnet) && slices.Equal(n.Groups, f.Groups)
}

// functions adopts those that points protect, and lets go of those that they no longer do.
// What keeps one from being adopted is a note: it is no reason to change nothing else.
func (r *renderer) functions(list []*unit, protects packet.Addrs, manage bool) (notes []string) {
	r.next.Functions = slices.Clone(r.have.Functions)
	judged := map[string]bool{}
	for _, u := range list {
		judged[u.function] = true
	}
	for i := range r.next.Functions {
		f := &r.next.Functions[i]
		g := r.have.own(f.ARN)
		protected := judged[f.ARN]
		for k := range r.have.Interfaces {
			n := &r.have.Interfaces[k]
			protected = protected || f.at(n) && n.set().Overlaps(protects)
		}
		on := g != nil && slices.Contains(f.Groups, g.Key)
		switch {
		case judged[f.ARN]:
		case on && (protects.IsEmpty() || !manage):
			f.Groups = r.back(f, g)
		case on && g.staged():
			notes = append(notes, fmt.Sprintf("function %q has an interface of its own, and is judged when the inventory has its address and a point protects it", f.Name))
		case on:
			// Whether nobody means it any more, or Lambda gave it another interface that is not in
			// the inventory yet, is not to be told from here; to move it for that would be wrong.
			notes = append(notes, fmt.Sprintf("function %q has a group of its own, and no point protects an address of it: its rules stay as they are; to let it go, say %q", f.Name, "functions: off"))
		case protected && manage:
			if why := r.adopt(f, g); why != "" {
				notes = append(notes, fmt.Sprintf("function %q is not put under policy: %s", f.Name, why))
				continue
			}
			notes = append(notes, fmt.Sprintf("function %q moves to an interface of its own, with another address: peers that are isolated let it in when the inventory has read that, and what it had open ends", f.Name))
		}
	}
	for i := range r.have.Groups {
		g := r.have.Groups[i]
		if g.Function == "" || slices.ContainsFunc(r.made, func(o Group) bool { return o.Key == g.Key }) {
			continue
		}
		// Lambda keeps an interface some time after the last function has left it, and the group
		// cannot go before it.
		used := carried(r.have, g.Key) || slices.ContainsFunc(slices.Concat(r.have.Functions, r.next.Functions), func(f Function) bool { return slices.Contains(f.Groups, g.Key) })
		if used {
			if f := r.next.function(g.Function); f == nil || !slices.Contains(f.Groups, g.Key) {
				g.Points = nil
			}
			r.made = append(r.made, g)
		}
	}
	return notes
}

// back are the groups that a function had before.
func (r *renderer) back(f *Function, g *Group) []string {
	out := slices.DeleteFunc(slices.Clone(f.Groups), func(k string) bool { return k == g.Key })
	for _, id := range g.Before {
		if slices.Contains(r.have.There, id) {
			out = append(out, id)
		}
	}
	if len(out) == 0 {
		out = r.fallback(&Interface{VPC: f.VPC})
	}
	return slices.Compact(slices.Sorted(slices.Values(out)))
}

// adopt gives a function a group of its own that lets through what its groups do. It says why
// it cannot.
func (r *renderer) adopt(f *Function, there *Group) (why string) {
	var g Group
	if there != nil {
		g = *there
	} else {
		g = r.fresh(f.VPC)
	}
	g.Function, g.Points, g.Rules, g.Before = f.ARN, nil, nil, nil
	set := []string{g.Key}
	for _, k := range f.Groups {
		s := r.have.group(k)
		switch {
		case s == nil:
			return fmt.Sprintf("what its group %s lets through is not known", k)
		case !r.next.Limits.Exclusive || s.Kept != "":
			set = append(set, k)
			continue
		case r.have.named[s.ID]:
			return fmt.Sprintf("a rule of some group names its group %q (%s), and would no longer mean it; name its addresses or subnet there", s.Name, s.ID)
		}
		for _, x := range s.Rules {
			if x.Unknown != "" {
				return fmt.Sprintf("its group %q has a rule that cannot be taken over: %s", s.Name, x.Unknown)
			}
			g.Rules = append(g.Rules, x.what())
		}
		g.Before = append(g.Before, k)
	}
	slices.SortFunc(g.Rules, Rule.compare)
	g.Rules = slices.Compact(g.Rules)
	if w := weigh(g.Rules); w.most() > r.limit {
		return fmt.Sprintf("its groups have rules that weigh %s together, and one group has room for %d", w, r.limit)
	}
	if len(set) > r.most || len(set) > maxFunctionGroups {
		return fmt.Sprintf("it has %d groups, and no room for one more", len(set)-1)
	}
	f.Groups = slices.Sorted(slices.Values(set))
	r.made = append(r.made, g)
	return ""
}

// maxFunctionGroups is how many a function may have (Lambda API reference, VpcConfig).
const maxFunctionGroups = 5

// functionLines are what functions mean for a fingerprint: which of them are adopted. Others
// are nobody's business.
func (s *State) functionLines() (out []string) {
	for i := range s.Functions {
		f := &s.Functions[i]
		if g := s.own(f.ARN); g != nil && slices.Contains(f.Groups, g.Key) {
			out = append(out, fmt.Sprintf("function %s %s %q %q", f.ARN, f.VPC, f.Subnets, f.Groups))
		}
	}
	return out
}

func (p *planner) function(w *Function) {
	h := p.have.function(w.ARN)
	if h == nil || slices.Equal(h.Groups, w.Groups) {
		return
	}
	at := move
	if g := p.have.own(w.ARN); g != nil && slices.Contains(h.Groups, g.Key) {
		at = free
	}
	p.out = append(p.out, call{stage: at, api: "UpdateFunctionConfiguration", action: driver.Modify, object: fmt.Sprintf("groups of function %q", w.Name),
		before: strings.Join(h.Groups, " "), after: strings.Join(w.Groups, " "), function: w.ARN, set: w.Groups})
}

// moveFunction changes the groups of a function and waits until AWS is done with it.
func (x *executor) moveFunction(ctx context.Context, c *call) error {
	ids, err := x.all(c.set)
	if err != nil {
		return err
	}
	slices.Sort(ids)
	f, err := x.settled(ctx, c.function)
	if err != nil {
		return err
	}
	if was := x.now.function(c.function); was == nil || !slices.Equal(x.ids(was.Groups), f.Groups) {
		return fmt.Errorf("function %q has the groups %q by now, and not those that it was planned from", f.Name, f.Groups)
	}
	err = x.patient(ctx, ec2api.NotFound, func() error {
		_, err := x.c.SetFunctionGroups(ctx, f, ids)
		return err
	})
	if err != nil {
		return err
	}
	f, err = x.settled(ctx, c.function)
	if err == nil && !slices.Equal(f.Groups, ids) {
		err = fmt.Errorf("function %q has the groups %q after its update", f.Name, f.Groups)
	}
	return err
}

// settled waits for an update of a function that is under way.
func (x *executor) settled(ctx context.Context, arn string) (f ec2api.Function, err error) {
	err = x.until(ctx, fmt.Sprintf("the end of an update of function %q", arn), func() (bool, error) {
		if f, err = x.c.Function(ctx, arn); err != nil {
			return false, err
		}
		if f.UpdateStatus == "Failed" {
			return false, fmt.Errorf("the last update of function %q failed: %s", f.Name, f.Reason)
		}
		return f.UpdateStatus == "Successful" && (f.State == "Active" || f.State == "Inactive"), nil
	})
	return f, err
}

// ids are the IDs of groups, sorted; of one that is not known it is the key.
func (x *executor) ids(keys []string) []string {
	var out []string
	for _, k := range keys {
		id, err := x.id(k)
		if err != nil {
			id = k
		}
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// showsFunction reports whether a state has a function where a call put it, with an interface
// in each of its subnets.
func (s *State) showsFunction(c *call) bool {
	f := s.function(c.function)
	if f == nil {
		return true
	}
	if !slices.Equal(f.Groups, c.set) {
		return false
	}
	for _, subnet := range f.Subnets {
		if !slices.ContainsFunc(s.Interfaces, func(n Interface) bool { return n.Subnet == subnet && slices.Equal(n.Groups, f.Groups) }) {
			return false
		}
	}
	return true
}
