package config

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"go.yaml.in/yaml/v4"

	"bulkhead/inventory"
	"bulkhead/pkg/config/strict"
	"bulkhead/pkg/policy"
)

// rawGroup is a group as written.
type rawGroup struct {
	name    strict.Named
	where   strict.Named
	members []strict.Named
	prefs   []netip.Prefix
	groups  []strict.Named
	except  []strict.Named
	isolate policy.Isolation
	given   []strict.Named // the keys that say who is in it
}

func (l *loader) groupsValue() strict.Value {
	return strict.Map(func(name strict.Named) strict.Value {
		g := &rawGroup{name: name, isolate: policy.IsolateNone}
		v := strict.Object("a group", nil, func() []strict.Key { return groupKeys(g) })
		return strict.Value{Schema: v.Schema, Read: func(d *strict.Decoder, n *yaml.Node) {
			v.Read(d, n)
			if err := checkName("group", name.Value); err != nil {
				d.Report(name, err)
				return
			}
			if first, dup := l.groups[name.Value]; dup {
				l.duplicate("group", name, first.name.Pos)
				return
			}
			if policy.BuiltIn(name.Value) {
				for _, k := range g.given {
					d.Report(k, &strict.Mistake{
						Message: fmt.Sprintf("group %q is built in; only its %q can be set", name.Value, "isolate"),
						Hint:    "give your own group another name",
					})
				}
			}
			l.groups[name.Value] = g
		}}
	})
}

func groupKeys(g *rawGroup) []strict.Key {
	isolations := []policy.Isolation{policy.IsolateNone, policy.IsolateIngress, policy.IsolateEgress, policy.IsolateBoth}
	// noting keeps which keys are given, and where.
	noting := func(k strict.Key) strict.Key {
		read := k.Value.Read
		k.Value.Read = func(d *strict.Decoder, n *yaml.Node) {
			g.given = append(g.given, strict.Named{Value: k.Name, Pos: d.Pos(n)})
			read(d, n)
		}
		return k
	}
	return []strict.Key{
		noting(strict.Key{Name: "where", Doc: "A CEL expression over one asset, true for members.", Value: strict.Expression(&g.where)}),
		noting(strict.Key{Name: "members", Doc: "Asset IDs.", Value: strict.Places(&g.members)}),
		noting(strict.Key{Name: "prefixes", Doc: "Addresses and prefixes.", Value: prefixes(&g.prefs, nil)}),
		noting(strict.Key{Name: "groups", Doc: "Other groups, whose addresses this one has too.", Value: strict.Places(&g.groups)}),
		noting(strict.Key{Name: "except", Doc: "Groups, asset IDs, addresses or prefixes that are left out.", Value: strict.Places(&g.except)}),
		{Name: "isolate", Doc: "On which sides it drops what no policy allowed.", Value: strict.Enum(&g.isolate, isolations...)},
	}
}

// prefixes reads a list of addresses and prefixes into p, sorted, and whether it
// was given.
func prefixes(p *[]netip.Prefix, given *bool) strict.Value {
	have := map[netip.Prefix]bool{} // a list may be long
	list := strict.List(given, func() strict.Value {
		return strict.Text(nil, func(v strict.Named) error {
			x, err := inventory.ParsePrefix(v.Value)
			if err != nil {
				return err
			}
			if have[x] {
				return fmt.Errorf("%q is given twice", v.Value)
			}
			have[x] = true
			*p = append(*p, x)
			return nil
		})
	})
	return strict.Value{Schema: list.Schema, Read: func(d *strict.Decoder, n *yaml.Node) {
		list.Read(d, n)
		slices.SortFunc(*p, inventory.ComparePrefix)
	}}
}

func (l *loader) resolveGroups() {
	for _, name := range []string{policy.GroupAny, policy.GroupUnknown, policy.GroupUnidentified} {
		if l.groups[name] == nil {
			l.groups[name] = &rawGroup{name: strict.Named{Value: name}, isolate: policy.IsolateNone}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.groups)) {
		g := l.groups[name]
		if policy.BuiltIn(name) {
			l.site.Book.Groups = append(l.site.Book.Groups, policy.Group{Name: name, Isolate: g.isolate, Pos: g.name.Pos})
			continue
		}
		l.site.Book.Groups = append(l.site.Book.Groups, l.group(g))
	}
	l.groupCycles()
}

// group resolves one group's references.
func (l *loader) group(g *rawGroup) policy.Group {
	out := policy.Group{
		Name: g.name.Value, Where: g.where.Value, WherePos: g.where.Pos,
		Prefixes: g.prefs, Isolate: g.isolate, Pos: g.name.Pos,
	}
	if !slices.ContainsFunc(g.given, func(k strict.Named) bool { return k.Value != "except" }) {
		w := l.diags.Warnf(g.name.Pos, "group %q is empty: it has none of where, members, prefixes and groups", g.name.Value)
		w.Len = g.name.Len
	}
	for _, m := range l.distinct("member", g.members) {
		if _, isAsset := l.assets[m.Value]; !isAsset && l.groups[m.Value] != nil {
			e := l.diags.Errorf(m.Pos, "%q is a group, and members are assets", m.Value)
			e.Len, e.Hint = m.Len, "put it under groups"
			continue
		}
		if l.assetRef(m) {
			out.Members = append(out.Members, m.Value)
		}
	}
	for _, r := range l.distinct("group", g.groups) {
		if l.groupRef(r) {
			out.Groups = append(out.Groups, r.Value)
		}
	}
	for _, r := range l.distinct("exception", g.except) {
		l.exception(&out, r)
	}
	slices.Sort(out.Members)
	slices.Sort(out.Groups)
	slices.Sort(out.ExceptGroups)
	slices.Sort(out.ExceptAssets)
	slices.SortFunc(out.ExceptPrefixes, inventory.ComparePrefix)
	return out
}

// exception files one entry of except under what it names.
func (l *loader) exception(out *policy.Group, r strict.Named) {
	if looksLikePrefix(r.Value) {
		p, err := inventory.ParsePrefix(r.Value)
		if err != nil {
			strict.Report(&l.diags, r, err)
			return
		}
		out.ExceptPrefixes = append(out.ExceptPrefixes, p)
		return
	}
	_, isAsset := l.assets[r.Value]
	_, isGroup := l.groups[r.Value]
	switch {
	case isAsset && isGroup:
		l.ambiguous(r)
	case isGroup:
		out.ExceptGroups = append(out.ExceptGroups, r.Value)
	case isAsset:
		out.ExceptAssets = append(out.ExceptAssets, r.Value)
	case l.mayLearn():
		if l.assetRef(r) {
			out.ExceptAssets = append(out.ExceptAssets, r.Value)
		}
	default:
		l.unknown("group or asset", r, append(l.groupNames(), slices.Collect(maps.Keys(l.assets))...))
	}
}

func (l *loader) ambiguous(r strict.Named) {
	e := l.diags.Errorf(r.Pos, "%q is both a group (%s) and an asset (%s)", r.Value,
		l.groups[r.Value].name.Pos, l.site.Assets[l.assets[r.Value]].Pos)
	e.Len, e.Hint = r.Len, "rename one of them"
}

func (l *loader) groupNames() []string { return slices.Sorted(maps.Keys(l.groups)) }

func (l *loader) groupRef(r strict.Named) bool {
	if _, ok := l.groups[r.Value]; ok {
		return true
	}
	if _, ok := l.assets[r.Value]; ok {
		e := l.diags.Errorf(r.Pos, "%q is an asset, and this must be a group", r.Value)
		e.Len, e.Hint = r.Len, "make a group with it: {members: ["+r.Value+"]}"
		return false
	}
	l.unknown("group", r, l.groupNames())
	return false
}

// distinct drops and reports repeats.
func (l *loader) distinct(what string, refs []strict.Named) []strict.Named {
	var out []strict.Named
	seen := map[string]bool{}
	for _, r := range refs {
		if seen[r.Value] {
			l.diags.Errorf(r.Pos, "%s %q is given twice", what, r.Value).Len = r.Len
			continue
		}
		seen[r.Value] = true
		out = append(out, r)
	}
	return out
}
