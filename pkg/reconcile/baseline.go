package reconcile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bulkhead/inventory"
	"bulkhead/pkg/config"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/store"
)

// Baseline is what of a site the brakes compare: kept with each apply, and read
// again before the next.
type Baseline struct {
	FormatVersion string `json:"formatVersion"`
	// Whole is set if the apply was of all points. One of some points says nothing of
	// the others.
	Whole  bool                 `json:"whole"`
	IDs    []string             `json:"ids"` // of the assets, in order
	Groups map[string]BaseGroup `json:"groups"`
	// Open are the services that any address may open to any other of its family, by
	// an allow policy.
	Open4    packet.Services `json:"open4"`
	Open6    packet.Services `json:"open6"`
	Failsafe []string        `json:"failsafe"` // as sentences, sorted; see failsafeText

	apply string
	at    time.Time
}

// BaseGroup is a group: its default, and the assets that belong to it by what they
// are. Those that only hold an address of one of its prefixes are not among them.
type BaseGroup struct {
	Isolate policy.Isolation `json:"isolate"`
	Members []int            `json:"members"` // indexes into IDs, ascending
}

const baselineFormat = "1.0"

// Snapshot is the inventory as it is kept with an apply, behind what the brakes of
// the next one compare with. whole says that the apply is of all points.
func (s *Site) Snapshot(whole bool) ([]byte, error) {
	b := s.baseline()
	b.Whole = whole
	// The baseline first: it is read without what follows, which may be large.
	return json.Marshal(struct {
		Baseline *Baseline `json:"baseline"`
		*inventory.Inventory
	}{b, s.Inventory})
}

// LastApplied finds in a state what the brakes compare with: the last apply of all
// points that was confirmed. Where there is none, why says so.
func LastApplied(st *store.Store) (b *Baseline, why string, err error) {
	const none = "no apply of all points has been confirmed yet"
	if st == nil {
		return nil, none, nil
	}
	var broken error
	a, err := st.Newest(func(a store.Apply) bool {
		if a.State != store.Confirmed || a.Snapshot == "" {
			return false
		}
		if b, broken = baselineOf(st, a); broken != nil || b == nil {
			return true
		}
		return b.Whole
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, none, nil
	case err != nil || broken != nil:
		return nil, "", errors.Join(err, broken)
	case b == nil:
		return nil, fmt.Sprintf("apply %s is of an older version, which kept nothing to compare with", a.ID), nil
	}
	return b, "", nil
}

// baselineOf reads what was kept with an apply; nil if nothing was.
func baselineOf(st *store.Store, a store.Apply) (*Baseline, error) {
	snap, err := st.Snapshot(a.Snapshot)
	if err != nil {
		return nil, err
	}
	content, err := st.Blob(snap.Hash)
	if err != nil {
		return nil, err
	}
	b, err := readBaseline(content)
	if err != nil {
		return nil, fmt.Errorf("what apply %s was made from: %w", a.ID, err)
	}
	if b != nil {
		b.apply, b.at = a.ID, a.Started
	}
	return b, nil
}

// readBaseline reads the beginning of a snapshot; nil if it has none.
func readBaseline(content []byte) (*Baseline, error) {
	dec := json.NewDecoder(bytes.NewReader(content))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.Join(errors.New("it is no inventory"), err)
	}
	if t, err := dec.Token(); err != nil || t != "baseline" {
		return nil, err
	}
	var b Baseline
	if err := dec.Decode(&b); err != nil {
		return nil, err
	}
	if b.FormatVersion != baselineFormat {
		return nil, fmt.Errorf("it is of format %q, this program reads %q", b.FormatVersion, baselineFormat)
	}
	for name, g := range b.Groups {
		if len(g.Members) > 0 && (g.Members[0] < 0 || g.Members[len(g.Members)-1] >= len(b.IDs)) {
			return nil, fmt.Errorf("group %q has members that are no assets", name)
		}
	}
	return &b, nil
}

// baseline works out what brakes compare, of the site as it is now.
func (s *Site) baseline() *Baseline {
	b := &Baseline{FormatVersion: baselineFormat,
		IDs: make([]string, 0, len(s.Inventory.Assets)), Groups: map[string]BaseGroup{}, Failsafe: failsafeText(&s.Config.Settings)}
	place := make(map[string]int, len(s.Inventory.Assets))
	for i := range s.Inventory.Assets {
		b.IDs = append(b.IDs, s.Inventory.Assets[i].ID)
		place[s.Inventory.Assets[i].ID] = i
	}
	m := &membership{book: map[string]*policy.Group{}, where: s.Members.Matches, place: place, done: map[string][]int{}}
	for i := range s.Config.Book.Groups {
		m.book[s.Config.Book.Groups[i].Name] = &s.Config.Book.Groups[i]
	}
	for i := range s.Config.Book.Groups {
		g := &s.Config.Book.Groups[i]
		if g.Name == policy.GroupQuarantined {
			continue // who is let out of it is not lost
		}
		b.Groups[g.Name] = BaseGroup{Isolate: g.Isolate, Members: m.of(g.Name)}
	}
	b.Open4, b.Open6 = s.open()
	return b
}

// membership tells the assets of groups by identity.
type membership struct {
	book  map[string]*policy.Group
	where map[string][]string
	place map[string]int
	done  map[string][]int
}

// of gives the members of a group, ascending. A loaded site has no cycles.
func (m *membership) of(name string) []int {
	if list, ok := m.done[name]; ok {
		return list
	}
	g := m.book[name]
	if g == nil || policy.BuiltIn(name) {
		return []int{}
	}
	in := map[int]bool{}
	set := func(ids []string, is bool) {
		for _, id := range ids {
			if i, ok := m.place[id]; ok {
				in[i] = is
			}
		}
	}
	set(m.where[name], true)
	set(g.Members, true)
	for _, sub := range g.Groups {
		for _, i := range m.of(sub) {
			in[i] = true
		}
	}
	set(g.ExceptAssets, false)
	for _, sub := range g.ExceptGroups {
		for _, i := range m.of(sub) {
			in[i] = false
		}
	}
	out := make([]int, 0, len(in))
	for i, is := range in {
		if is {
			out = append(out, i)
		}
	}
	slices.Sort(out)
	m.done[name] = out
	return out
}

// open gives the services that an allow policy opens from every address of a family
// to every other.
func (s *Site) open() (four, six packet.Services) {
	families := packet.AllAddrs()
	all := func(names []string, four bool) bool {
		var set packet.Addrs
		for _, n := range names {
			a, _ := s.Matrix.GroupAddrs(n)
			set = set.Union(a)
		}
		for _, r := range families.Runs() {
			if r.From.Is4() == four && !packet.AddrRanges([]packet.Range{r}).Subtract(set).IsEmpty() {
				return false
			}
		}
		return true
	}
	for i := range s.Matrix.Policies {
		p := &s.Matrix.Policies[i]
		if p.Action != policy.Allow || p.Mode != policy.Enforce || len(p.Same)+len(p.Differ) > 0 {
			continue
		}
		svc := packet.ServicesOf(p.Ranges)
		if all(p.From, true) && all(p.To, true) {
			four = four.Union(svc)
		}
		if all(p.From, false) && all(p.To, false) {
			six = six.Union(svc)
		}
	}
	return four, six
}

// failsafeText writes every failsafe flow as a sentence.
func failsafeText(set *config.Settings) []string {
	out := []string{}
	for _, f := range set.Failsafe {
		to := "its own addresses"
		if f.To != nil {
			to = packet.AddrsOf(f.To...).String()
		}
		out = append(out, fmt.Sprintf("point %s: %s from %s to %s", f.Point, packet.ServicesOf(f.Ranges).Text(), packet.AddrsOf(f.From...), to))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// pointOf is the point of a failsafe sentence.
func pointOf(sentence string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(sentence, "point "), ":")
	return name
}

// Apply is the ID of the apply that the baseline was kept with.
func (b *Baseline) Apply() string { return b.apply }

// value is what the plan says of the baseline.
func (b *Baseline) value(why string) plan.Baseline {
	if b == nil {
		return plan.Baseline{Why: why}
	}
	return plan.Baseline{Apply: b.apply, At: b.at.UTC()}
}
