package config

import (
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"bulkhead/pkg/config/strict"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/policy"
)

// rawService is a service as written. Its ranges are known once done.
type rawService struct {
	name    strict.Named
	parts   []strict.Named
	ranges  []policy.Range
	done    bool
	walking bool
}

func (l *loader) servicesValue() strict.Value {
	return strict.Map(func(name strict.Named) strict.Value {
		s := &rawService{name: name}
		v := strict.OneOrManyPlaces(&s.parts)
		return strict.Value{Schema: v.Schema, Read: func(d *strict.Decoder, n *yaml.Node) {
			v.Read(d, n)
			if err := checkServiceName(name.Value); err != nil {
				d.Report(name, err)
				return
			}
			if first, dup := l.services[name.Value]; dup {
				l.duplicate("service", name, first.name.Pos)
				return
			}
			l.services[name.Value] = s
		}}
	})
}

func (l *loader) resolveServices() {
	for _, name := range slices.Sorted(maps.Keys(l.services)) {
		s := l.services[name]
		l.expand(s, nil)
		l.site.Book.Services = append(l.site.Book.Services, policy.Service{Name: name, Ranges: s.ranges, Pos: s.name.Pos})
	}
}

// expand finds out the ranges of a service. Path is who asked, for cycles.
func (l *loader) expand(s *rawService, path []string) {
	if s.done {
		return
	}
	s.walking = true
	path = append(path, s.name.Value)
	for _, p := range s.parts {
		if o, ok := l.services[p.Value]; ok && o.walking {
			at := slices.Index(path, p.Value)
			e := l.diags.Errorf(p.Pos, "service %q contains itself: %s", p.Value, cycleText(path[at:]))
			e.Len = p.Len
			continue
		} else if ok {
			l.expand(o, path)
		}
		s.ranges = append(s.ranges, l.service(p)...)
	}
	s.ranges = mergeRanges(s.ranges)
	s.walking, s.done = false, true
}

func cycleText(path []string) string {
	return strings.Join(append(slices.Clone(path), path[0]), " -> ")
}

// service looks up one name or reads one literal, and reports what is wrong.
func (l *loader) service(ref strict.Named) []policy.Range {
	if s, ok := l.services[ref.Value]; ok {
		return s.ranges
	}
	ranges, err := ParseService(ref.Value)
	if err == nil {
		return ranges
	}
	head, _, slash := strings.Cut(ref.Value, "/")
	if _, isProto := protocolNumber(head); !slash && !isProto && head != "proto" {
		names := append(slices.Collect(maps.Keys(l.services)), protocolNames()...)
		e := l.diags.Errorf(ref.Pos, "unknown service %q", ref.Value)
		e.Len, e.Hint = ref.Len, diag.DidYouMean(ref.Value, append(names, "any"))
		if e.Hint == "" {
			e.Hint = "define it under services, or write a literal such as tcp/443"
		}
		return nil
	}
	strict.Report(&l.diags, ref, err)
	return nil
}

// serviceList resolves a list of names and literals.
func (l *loader) serviceList(refs []strict.Named) (written []string, ranges []policy.Range) {
	for _, r := range refs {
		written = append(written, r.Value)
		ranges = append(ranges, l.service(r)...)
	}
	return written, mergeRanges(ranges)
}
