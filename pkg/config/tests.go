package config

import (
	"maps"
	"slices"

	"go.yaml.in/yaml/v4"

	"bulkhead/inventory"
	"bulkhead/pkg/config/strict"
	"bulkhead/pkg/diag"
)

// rawTest is a test as written.
type rawTest struct {
	pos      diag.Pos
	name     strict.Named
	from, to strict.Named
	service  []strict.Named
	expect   Expect
}

func (l *loader) testsValue() strict.Value {
	return strict.List(nil, func() strict.Value {
		r := &rawTest{}
		v := strict.Object("a test", &r.pos, func() []strict.Key { return testKeys(r) })
		return strict.Value{Schema: v.Schema, Read: func(d *strict.Decoder, n *yaml.Node) {
			v.Read(d, n)
			l.tests = append(l.tests, r)
		}}
	})
}

func testKeys(r *rawTest) []strict.Key {
	return []strict.Key{
		{Name: "name", Required: true, Doc: "What is tested, in words.", Value: strict.Place(&r.name)},
		{Name: "from", Required: true, Doc: "An asset, a group, an address or a prefix.", Value: strict.Place(&r.from)},
		{Name: "to", Required: true, Doc: "An asset, a group, an address or a prefix.", Value: strict.Place(&r.to)},
		{Name: "service", Required: true, Doc: "Services by name, or literals; any for all.", Value: strict.OneOrManyPlaces(&r.service)},
		{Name: "expect", Required: true, Doc: "permit: every flow passes; deny: none does.", Value: strict.Enum(&r.expect, Permit, Deny)},
	}
}

func (l *loader) resolveTests() {
	first := map[string]diag.Pos{}
	for _, r := range l.tests {
		if at, dup := first[r.name.Value]; dup && r.name.Value != "" {
			l.duplicate("test", r.name, at)
			continue
		}
		first[r.name.Value] = r.name.Pos
		t := TestCase{Name: r.name.Value, Expect: r.expect, Pos: r.pos}
		t.From, t.To = l.end(r.from), l.end(r.to)
		t.Service, t.Ranges = l.serviceList(l.distinct("service", r.service))
		l.site.Tests = append(l.site.Tests, t)
	}
}

// end resolves one end of a test. A missing one was reported already.
func (l *loader) end(r strict.Named) End {
	out := End{Name: r.Value, Pos: r.Pos}
	_, isAsset := l.assets[r.Value]
	_, isGroup := l.groups[r.Value]
	switch {
	case r.Value == "":
	case looksLikePrefix(r.Value):
		p, err := inventory.ParsePrefix(r.Value)
		if err != nil {
			strict.Report(&l.diags, r, err)
			return out
		}
		out.Kind, out.Prefix = EndPrefix, p
	case isAsset && isGroup:
		l.ambiguous(r)
	case isGroup:
		out.Kind = EndGroup
	case isAsset:
		out.Kind = EndAsset
	case l.mayLearn():
		if l.assetRef(r) {
			out.Kind = EndAsset
		}
	default:
		known := append(l.groupNames(), slices.Collect(maps.Keys(l.assets))...)
		l.unknown("group, asset or address", r, known)
	}
	return out
}
