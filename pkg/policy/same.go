package policy

import (
	"slices"
)

// SameGroups reports whether two lists of groups are the same but for where they are
// written.
func SameGroups(a, b []Group) bool {
	return slices.EqualFunc(a, b, func(x, y Group) bool { return x.same(&y) })
}

func (g *Group) same(o *Group) bool {
	return g.Name == o.Name && g.Where == o.Where && g.Isolate == o.Isolate &&
		slices.Equal(g.Members, o.Members) && slices.Equal(g.Prefixes, o.Prefixes) && slices.Equal(g.Groups, o.Groups) &&
		slices.Equal(g.ExceptGroups, o.ExceptGroups) && slices.Equal(g.ExceptAssets, o.ExceptAssets) && slices.Equal(g.ExceptPrefixes, o.ExceptPrefixes)
}
