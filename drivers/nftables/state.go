package nftables

import (
	"strings"

	"bulkhead/drivers/nftables/render"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/packet"
)

// State is what one network namespace's nf_tables hold: our table and everybody
// else's.
type State struct {
	Site    string
	Ruleset *ruleset.Ruleset
	// Own are the machine's own addresses, in a rendered state: flows of the machine
	// itself that none of our points judged are left alone.
	Own packet.Addrs
	// words are those of a rendered state.
	words *render.Words
	// trial is what the kernel holds besides while a change is on trial, or until somebody
	// has tidied up after one. Ruleset has the state that is in force.
	trial *trial
}

// Table finds our table; nil if there is none.
func (s *State) Table() *ruleset.Table {
	return s.Ruleset.Table(ruleset.FamilyInet, render.TableName(s.Site))
}

// Fingerprint digests all tables, ours and others', as far as they have meaning.
func (s *State) Fingerprint() string { return fingerprint(s.Ruleset) }

// OwnFingerprint digests our own table alone; "" if there is none.
func (s *State) OwnFingerprint() string {
	t := s.Table()
	if t == nil {
		return ""
	}
	return fingerprint(&ruleset.Ruleset{Tables: []ruleset.Table{*t}})
}

// with gives the state in which our table is t (nil: gone).
func (s *State) with(t *ruleset.Table) *State {
	out := &State{Site: s.Site, Ruleset: &ruleset.Ruleset{Generation: s.Ruleset.Generation}}
	name := render.TableName(s.Site)
	for _, o := range s.Ruleset.Tables {
		if o.Family != ruleset.FamilyInet || o.Name != name {
			out.Ruleset.Tables = append(out.Ruleset.Tables, o)
		}
	}
	if t != nil {
		out.Ruleset.Tables = append(out.Ruleset.Tables, *t)
	}
	return out
}

// isWindow reports whether the set is a learning window, which the kernel ends by
// itself and which is opened only when it is made.
func isWindow(set string) bool {
	return strings.HasPrefix(set, "learning.") || strings.HasPrefix(set, "pickup.")
}

// Empty is the state of a namespace without a single table.
func Empty(site string) *State { return &State{Site: site, Ruleset: &ruleset.Ruleset{}} }

// Text is our table as `nft -f` loads it; "" if there is none.
func (s *State) Text() string {
	if t := s.Table(); t != nil {
		return t.Text()
	}
	return ""
}
