package ec2

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"bulkhead/inventory"
	"bulkhead/pkg/aws/ec2api"
)

// World is what one part was found to hold. Interfaces are read before instances: one
// that no instance names in the end was let go.
type World struct {
	Region     string
	Interfaces []ec2api.Interface
	Instances  []ec2api.Instance
	Functions  []ec2api.Function
	Images     []ec2api.Image // of instances, if names are asked for
}

// Report is what a part says: assets in order of ID, and the labels that could not be
// decided.
type Report struct {
	Assets    []inventory.Asset
	Conflicts []inventory.Conflict
}

// Report turns a world into assets:
//   - an instance, with the addresses of all its interfaces, whatever its state; one
//     that is terminated is gone;
//   - a Lambda function, with the addresses of the interfaces that its subnets and
//     security groups lead through, which it may share with others;
//   - every other interface by itself: a pod's or a task's as a container, the rest as
//     external, since who holds its address is not known here (a service's interface
//     is a peer, and nobody's to put under policy but the service's).
func (w *World) Report(s *Settings) Report {
	w = w.sorted()
	b := builder{w: w, s: s, assets: map[string]*inventory.Asset{}, images: map[string]string{}}
	for _, i := range w.Images {
		b.images[i.ID] = i.Name
	}
	taken := map[string]bool{} // interfaces that an instance or a function accounts for
	state := map[string]string{}
	for i := range w.Instances {
		x := &w.Instances[i]
		state[x.ID] = x.State
		if x.State == "terminated" {
			continue
		}
		b.instance(x)
		for j := range x.Interfaces {
			taken[x.Interfaces[j].ID] = true
		}
	}
	if s.Functions != FunctionsOff {
		b.functions(taken)
	}
	for i := range w.Interfaces {
		n := &w.Interfaces[i]
		switch was := state[n.Instance]; {
		case taken[n.ID]:
		case was == "terminated" && n.DeleteOnTermination:
		case n.Instance != "" && was == "":
			b.unseen(n)
		default:
			b.alone(n)
		}
	}
	return b.report()
}

// sorted is the world with its lists in order: of several interfaces that say something
// of one asset the first ones' word must not depend on who answered first.
func (w *World) sorted() *World {
	c := *w
	c.Interfaces = slices.SortedFunc(slices.Values(w.Interfaces), func(a, b ec2api.Interface) int { return cmp.Compare(a.ID, b.ID) })
	c.Instances = slices.SortedFunc(slices.Values(w.Instances), func(a, b ec2api.Instance) int { return cmp.Compare(a.ID, b.ID) })
	c.Functions = slices.SortedFunc(slices.Values(w.Functions), func(a, b ec2api.Function) int { return cmp.Compare(a.ARN, b.ARN) })
	return &c
}

type builder struct {
	w         *World
	s         *Settings
	images    map[string]string
	assets    map[string]*inventory.Asset
	conflicts []inventory.Conflict
}

func (b *builder) report() Report {
	r := Report{Assets: []inventory.Asset{}, Conflicts: b.conflicts}
	for _, id := range slices.Sorted(maps.Keys(b.assets)) {
		a := b.assets[id]
		slices.SortFunc(a.Addresses, inventory.ComparePrefix)
		a.Addresses = slices.Compact(a.Addresses)
		slices.Sort(a.MACs)
		a.MACs = slices.Compact(a.MACs)
		slices.SortFunc(a.Attachments, func(x, y inventory.Attachment) int { return cmp.Compare(x.ENI, y.ENI) })
		a.Attachments = slices.Compact(a.Attachments)
		r.Assets = append(r.Assets, *a)
	}
	return r
}

// make is a new asset, or the one that there is of that ID. Attributes without a value
// are left out.
func (b *builder) make(id string, kind inventory.Kind, tags map[string]string, attributes ...string) *inventory.Asset {
	a := b.assets[id]
	if a == nil {
		a = &inventory.Asset{ID: id, Kind: kind, Attributes: map[string]string{inventory.AttrInstanceID: id, "region": b.w.Region}}
		b.assets[id] = a
	}
	for i := 0; i < len(attributes); i += 2 {
		if attributes[i+1] != "" {
			a.Attributes[attributes[i]] = attributes[i+1]
		}
	}
	if len(tags) > 0 {
		b.labels(a, tags)
	}
	return a
}

// labels makes labels of tags. Where several tags of an asset would be the same label
// and differ, it gets none: either could be the one that the policy means.
func (b *builder) labels(a *inventory.Asset, tags map[string]string) {
	by := map[string][]string{} // label -> tags
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		switch name, wanted := b.s.Labels.nameOf(key); {
		case name != "":
			by[name] = append(by[name], key)
		case wanted: // said, and no more: cut off, it could be taken for another
			a.Facts = append(a.Facts, inventory.Fact{Field: "tags", Value: fmt.Sprintf("%q=%q", key, tags[key]), Evidence: true})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		keys := by[name]
		if slices.ContainsFunc(keys, func(k string) bool { return tags[k] != tags[keys[0]] }) {
			c := inventory.Conflict{Kind: inventory.LabelAmbiguous, Field: inventory.FieldLabel + name}
			for _, k := range keys {
				c.Claims = append(c.Claims, inventory.Claim{Asset: a.ID, Value: fmt.Sprintf("%q=%q", k, tags[k])})
			}
			b.conflicts = append(b.conflicts, c)
			continue
		}
		if a.Labels == nil {
			a.Labels = map[string]string{}
		}
		a.Labels[name] = tags[keys[0]]
	}
}

// plug gives an asset the addresses of an interface. Behind delegated prefixes are pods,
// which have no interface of their own: the asset is their node, and speaks for them.
func (b *builder) plug(a *inventory.Asset, n *ec2api.Interface) {
	for _, x := range n.Addresses {
		a.Addresses = append(a.Addresses, inventory.HostPrefix(x))
	}
	a.Addresses = append(a.Addresses, n.Prefixes...)
	a.Attachments = append(a.Attachments, inventory.Attachment{ENI: n.ID})
	if len(n.Prefixes) > 0 {
		a.Attributes["node"] = "true"
	}
	if !n.SourceDestCheck {
		a.Attributes["source_dest_check"] = "false" // it may send what it likes: a router, a NAT instance
	}
	if len(n.Public) > 0 {
		a.Attributes["public_ip"] = joined(a.Attributes["public_ip"], n.Public)
	}
	if b.s.Public {
		for _, x := range n.Public {
			a.Addresses = append(a.Addresses, inventory.HostPrefix(x))
		}
	}
}

// joined adds addresses to those of a list in text.
func joined(list string, more []netip.Addr) string {
	words := strings.Fields(list)
	for _, x := range more {
		words = append(words, x.String())
	}
	slices.Sort(words)
	return strings.Join(slices.Compact(words), " ")
}

func mac(a *inventory.Asset, n *ec2api.Interface) {
	if m, err := inventory.ParseMAC(n.MAC); err == nil {
		a.MACs = append(a.MACs, m)
	}
}
