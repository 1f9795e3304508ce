package config

import (
	"net/netip"
	"slices"
	"strings"

	"bulkhead/pkg/config/strict"
)

// looksLikePrefix reports whether a reference was meant as an address or a
// prefix, well-formed or not: no group and no asset ID has such a form.
func looksLikePrefix(s string) bool {
	host, _, slash := strings.Cut(s, "/")
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return slash && strings.Trim(host, "0123456789.") == "" || strings.Count(s, ":") > 1 && strings.Trim(s, "0123456789abcdefABCDEF:/") == ""
}

// groupCycles reports every group that contains or excepts itself, each cycle
// once, at the reference that closes it.
func (l *loader) groupCycles() {
	const (
		fresh = iota
		walking
		done
	)
	state := map[string]int{}
	var path []string
	var walk func(name string)
	walk = func(name string) {
		state[name] = walking
		path = append(path, name)
		for _, r := range slices.Concat(l.groups[name].groups, l.groups[name].except) {
			if _, ok := l.groups[r.Value]; !ok {
				continue
			}
			switch state[r.Value] {
			case fresh:
				walk(r.Value)
			case walking:
				l.cycle(r, path[slices.Index(path, r.Value):])
			}
		}
		path = path[:len(path)-1]
		state[name] = done
	}
	for _, name := range l.groupNames() {
		if state[name] == fresh {
			walk(name)
		}
	}
}

func (l *loader) cycle(r strict.Named, path []string) {
	e := l.diags.Errorf(r.Pos, "group %q depends on itself: %s", r.Value, cycleText(path))
	e.Len, e.Hint = r.Len, "a group cannot be made of, or exclude, itself"
}
