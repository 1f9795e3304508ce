package inventory

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"bulkhead/pkg/diag"
)

// Trust says what a source may do to assets, beyond saying that it saw them.
type Trust string

// The trust levels. Whatever a source may not set, it still reports as
// evidence: facts that are shown and audited, and that give no group.
const (
	// TrustEvidence adds facts only. It is what an unset Trust means.
	TrustEvidence Trust = "evidence"
	// TrustLabels also sets labels and attributes on assets that exist.
	TrustLabels Trust = "labels"
	// TrustAddresses also adds addresses, MACs and attachments to assets that exist.
	TrustAddresses Trust = "addresses"
	// TrustFull does all of that, says the kind, and creates assets.
	TrustFull Trust = "full"
)

// Trusts lists the trust levels, the least first.
func Trusts() []Trust { return []Trust{TrustEvidence, TrustLabels, TrustAddresses, TrustFull} }

func (t Trust) setsLabels() bool    { return t == TrustLabels || t == TrustFull }
func (t Trust) setsAddresses() bool { return t == TrustAddresses || t == TrustFull }
func (t Trust) createsAssets() bool { return t == TrustFull }

// FileSource is the name of the source that the site directory's own assets
// come from.
const FileSource = "files"

// Report is what one source said in one complete read. A read that failed has
// no report: it is an error, never an empty Report.
type Report struct {
	Source string    `json:"source"`
	Trust  Trust     `json:"trust"`
	Seen   time.Time `json:"seen,omitzero"` // when it was read; zero for what a file declares
	Assets []Asset   `json:"assets"`
	// Conflicts are what the source itself could not decide, LabelAmbiguous.
	Conflicts []Conflict `json:"conflicts,omitempty"`
}

// The names of Fact.Field; labels and attributes add their name to a prefix.
const (
	FieldID          = "id"
	FieldKind        = "kind"
	FieldAddresses   = "addresses"
	FieldMACs        = "macs"
	FieldAttachments = "attachments"
	FieldLabel       = "labels."
	FieldAttribute   = "attributes."
)

// MaxFieldName is the longest name of a label or an attribute, in bytes.
const MaxFieldName = 63

// FieldNameRune reports whether the name of a label or an attribute may hold r: letters,
// digits, and - _ . / are what expressions and CSV columns can name.
func FieldNameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./", r)
}

// String gives an attachment's parts as name=value, the form of facts.
func (a Attachment) String() string {
	out := ""
	for _, p := range [][2]string{{"switch", a.Switch}, {"port", a.Port}, {"eni", a.ENI}, {"interface", a.Interface}} {
		if p[1] != "" {
			if out != "" {
				out += " "
			}
			out += p[0] + "=" + p[1]
		}
	}
	return out
}

func compareAttachment(a, b Attachment) int {
	return cmp.Or(cmp.Compare(a.Switch, b.Switch), cmp.Compare(a.Port, b.Port),
		cmp.Compare(a.ENI, b.ENI), cmp.Compare(a.Interface, b.Interface))
}

func compareFact(a, b Fact) int {
	// One after the other: the first two nearly always decide, and sorting asks this
	// for every fact of the network.
	if c := cmp.Compare(a.Field, b.Field); c != 0 {
		return c
	}
	if c := cmp.Compare(a.Value, b.Value); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(a.Source, b.Source), comparePos(a.Pos, b.Pos), a.Seen.Compare(b.Seen))
}

// SortFacts puts the facts of one asset into the order in which Merge leaves
// them. A source whose facts are so spares Merge a copy of each.
func SortFacts(facts []Fact) {
	if !slices.IsSortedFunc(facts, compareFact) {
		slices.SortFunc(facts, compareFact)
	}
}

func comparePos(a, b diag.Pos) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
}

// Sources names the sources whose word an asset stands on, sorted. A source that
// only saw it (evidence) is not among them, so that whoever clones a MAC cannot
// enter a group that asks for a source.
func (a *Asset) Sources() []string {
	var out []string
	for _, f := range a.Facts {
		if !f.Evidence && f.Source != "" && !slices.Contains(out, f.Source) {
			out = append(out, f.Source)
		}
	}
	slices.Sort(out)
	return out
}

// FieldPos returns the position of the fact that says field is value, or the
// position of the asset.
func (a *Asset) FieldPos(field, value string) diag.Pos {
	for _, f := range a.Facts {
		if f.Field == field && f.Value == value && f.Pos.File != "" {
			return f.Pos
		}
	}
	return a.Pos
}

// statements lists everything that a says, one fact each, in order of field and
// value. Positions and times come from a.Facts where it has them; where that is
// the list already, it is returned itself.
func (a *Asset) statements(source string, seen time.Time) []Fact {
	if a.stated(source) {
		return a.Facts
	}
	known := make(map[[2]string]Fact, len(a.Facts))
	for _, f := range a.Facts {
		known[[2]string{f.Field, f.Value}] = f
	}
	var out []Fact
	say := func(field, value string) {
		f := Fact{Field: field, Value: value, Seen: seen, Pos: a.Pos}
		if k, ok := known[[2]string{field, value}]; ok {
			f = k
			delete(known, [2]string{field, value})
		}
		f.Source, f.Evidence = source, false
		out = append(out, f)
	}
	if a.Kind != "" {
		say(FieldKind, string(a.Kind))
	}
	for _, p := range a.Addresses {
		say(FieldAddresses, FormatPrefix(p))
	}
	for _, m := range a.MACs {
		say(FieldMACs, m)
	}
	for _, t := range a.Attachments {
		say(FieldAttachments, t.String())
	}
	for _, k := range slices.Sorted(maps.Keys(a.Labels)) {
		say(FieldLabel+k, a.Labels[k])
	}
	for _, k := range slices.Sorted(maps.Keys(a.Attributes)) {
		say(FieldAttribute+k, a.Attributes[k])
	}
	// What is left are remarks that no field carries: evidence by nature.
	for _, f := range known {
		f.Source, f.Evidence = source, true
		out = append(out, f)
	}
	slices.SortFunc(out, compareFact)
	return slices.Compact(out)
}

// stated reports whether a.Facts is what statements would list: each thing that
// a says once, by the source, in order, and nothing besides.
func (a *Asset) stated(source string) bool {
	if len(a.Facts) == 0 || len(a.Attachments) > 0 || len(a.Addresses) > 8 {
		return false // the list would have to be made to be compared
	}
	addresses, macs, labels, attributes, kind := 0, 0, 0, 0, 0
	for i := range a.Facts {
		f := &a.Facts[i]
		if f.Source != source || f.Evidence {
			return false
		}
		// In order without repeats: as many facts as there are things, each of which
		// there is, are all of them.
		if i > 0 {
			if p := &a.Facts[i-1]; p.Field > f.Field || p.Field == f.Field && p.Value >= f.Value {
				return false
			}
		}
		ok := false
		switch {
		case f.Field == FieldKind:
			ok, kind = f.Value == string(a.Kind), kind+1
		case f.Field == FieldAddresses:
			ok, addresses = a.holds(f.Value), addresses+1
		case f.Field == FieldMACs:
			_, ok = slices.BinarySearch(a.MACs, f.Value)
			macs++
		case strings.HasPrefix(f.Field, FieldLabel):
			v, has := a.Labels[f.Field[len(FieldLabel):]]
			ok, labels = has && v == f.Value, labels+1
		case strings.HasPrefix(f.Field, FieldAttribute):
			v, has := a.Attributes[f.Field[len(FieldAttribute):]]
			ok, attributes = has && v == f.Value, attributes+1
		}
		if !ok {
			return false
		}
	}
	return addresses == len(a.Addresses) && macs == len(a.MACs) && labels == len(a.Labels) &&
		attributes == len(a.Attributes) && kind == min(1, len(a.Kind))
}

// holds reports whether one of the addresses is written so.
func (a *Asset) holds(text string) bool {
	for _, p := range a.Addresses {
		var buf [64]byte
		if string(AppendPrefix(buf[:0], p)) == text {
			return true
		}
	}
	return false
}
