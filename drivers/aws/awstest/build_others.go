package awstest

import (
	"maps"
	"net/netip"
	"strings"
)

// AddImage makes a machine image; platform is "windows" or "".
func (r Region) AddImage(name, platform string) (id string) {
	r.change(func(t *tables) {
		i := &Image{ID: r.w.newID(idImage), Account: r.Account, Name: name, Platform: platform, Public: true, Tags: map[string]string{}}
		t.images[i.ID], id = i, i.ID
	})
	return id
}

// AddLaunchTemplate makes a launch template of at least one version; the last one is
// the default.
func (r Region) AddLaunchTemplate(name string, versions ...LaunchVersion) (id string) {
	r.change(func(t *tables) {
		l := &LaunchTemplate{ID: r.w.newID(idTemplate), Account: r.Account, Name: name, Default: len(versions), Versions: versions, Tags: map[string]string{}}
		t.templates[l.ID], id = l, l.ID
	})
	return id
}

// AddAWSPrefixList makes a prefix list that AWS manages, as com.amazonaws.REGION.s3,
// which counts as weight rules in the quota of a group that names it.
func (r Region) AddAWSPrefixList(name string, weight int, cidrs ...string) (id string) {
	return r.addPrefixList(AWSAccount, name, weight, weight, cidrs)
}

// AddPrefixList makes a list of the customer's own.
func (r Region) AddPrefixList(name string, maxEntries int, cidrs ...string) (id string) {
	return r.addPrefixList(r.Account, name, maxEntries, maxEntries, cidrs)
}

func (r Region) addPrefixList(account, name string, most, weight int, cidrs []string) (id string) {
	r.change(func(t *tables) {
		l := &PrefixList{ID: r.w.newID(idList), Account: account, Name: name, MaxEntries: most, Weight: weight, Version: 1,
			State: "create-complete", Tags: map[string]string{}, Versions: map[int][]Entry{}}
		for _, c := range cidrs {
			p := netip.MustParsePrefix(c).Masked()
			l.IPv6 = p.Addr().Is6()
			l.Versions[1] = append(l.Versions[1], Entry{CIDR: p})
		}
		t.prefixLists[l.ID], id = l, l.ID
	})
	return id
}

// progress counts a read of a list that is being made or changed, and ends that after
// as many as the world's lag. Until then a change has no effect.
func (w *World) progress(c *call, l *PrefixList) {
	if l = c.in.t.prefixLists[l.ID]; l == nil || l.lag == 0 {
		return
	}
	t := c.in.t.clone()
	edit(t.prefixLists, l.ID, func(l *PrefixList) { l.lag-- })
	if t.prefixLists[l.ID].lag == 0 {
		t.complete(l.ID)
	}
	c.in.t = t
}

// complete ends what is in progress with a list.
func (t *tables) complete(id string) {
	l := *t.prefixLists[id]
	what, _, _ := strings.Cut(l.State, "-in-progress")
	switch {
	case what == "delete":
		delete(t.prefixLists, id)
		return
	case what == "modify" && l.next == nil:
		l.State = "modify-failed"
	case what == "modify":
		l = *l.next
		l.State = "modify-complete"
	default:
		l.State = what + "-complete"
	}
	l.lag, l.next = 0, nil
	t.prefixLists[id] = &l
}

// FunctionSpec is a Lambda function to make.
type FunctionSpec struct {
	Name, Runtime   string   // Runtime is "provided.al2023" if it is ""
	Subnets, Groups []string // of one VPC; both empty for a function in none
	Tags            map[string]string
}

// AddFunction makes a function, and the interfaces that it needs: one for each subnet,
// which it shares with every function that has the subnet and all of the groups.
func (r Region) AddFunction(s FunctionSpec) (arn string) {
	r.change(func(t *tables) {
		orElse(&s.Runtime, "provided.al2023")
		f := &Function{Account: r.Account, Name: s.Name, Runtime: s.Runtime, Subnets: s.Subnets, Groups: s.Groups, Tags: maps.Clone(s.Tags)}
		if len(s.Subnets) > 0 {
			f.VPC = must(t.subnets, s.Subnets[0]).VPC
		}
		for _, g := range s.Groups {
			must(t.groups, g)
		}
		arn = functionARN(r.Name, r.Account, s.Name)
		t.functions[arn] = f
		r.hyperplane(t)
	})
	return arn
}

func functionARN(region, account, name string) string {
	return "arn:aws:lambda:" + region + ":" + account + ":function:" + name
}
