package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"bulkhead/pkg/driver"
)

// The bounds of what people are shown; JSON has everything.
const (
	maxFlows         = 60
	maxSets          = 6
	maxSetsHTML      = 40
	maxOps           = 40
	maxUncovered     = 12
	maxUncoveredHTML = 60
	maxLine          = 240
	maxAddresses     = 90 // characters of one side of a flow set
)

// who writes a list of groups as people say it.
func who(groups []string, empty string) string {
	if len(groups) == 0 {
		return empty
	}
	return strings.Join(groups, ", ")
}

// flowGroup is the flow changes that one thing decides: people read who decides
// first, and then what.
type flowGroup struct {
	Permit   bool
	By       string
	From, To []string
	Points   []string
	Changes  []FlowChange
}

// groupFlows puts changes together that only differ in services and addresses.
// They come sorted, so those stand side by side.
func groupFlows(flows []FlowChange, permit bool) []flowGroup {
	var out []flowGroup
	for _, f := range flows {
		if f.Permit != permit {
			continue
		}
		n := len(out)
		if n == 0 || out[n-1].By != f.By || !slices.Equal(out[n-1].From, f.From) || !slices.Equal(out[n-1].To, f.To) || !slices.Equal(out[n-1].Points, f.Points) {
			out = append(out, flowGroup{Permit: permit, By: f.By, From: f.From, To: f.To, Points: f.Points})
			n++
		}
		out[n-1].Changes = append(out[n-1].Changes, f)
	}
	return out
}

// short cuts a list of words for people, and says how much it left out.
func short(s string, n int) string {
	if len(s) <= n {
		return s
	}
	words := strings.Fields(s)
	out := ""
	for i, w := range words {
		if len(out)+len(w) > n && i > 0 {
			return fmt.Sprintf("%s ... and %d more", strings.TrimSpace(out), len(words)-i)
		}
		out += w + " "
	}
	return strings.TrimSpace(out)
}

// opCounts sums operations up.
func opCounts(ops []driver.Op) (add, change, remove int) {
	for _, op := range ops {
		switch op.Action {
		case driver.Add:
			add++
		case driver.Modify:
			change++
		case driver.Remove:
			remove++
		}
	}
	return add, change, remove
}

// opText is one operation in a line.
func opText(op driver.Op) string {
	switch {
	case op.Before != "" && op.After != "":
		return fmt.Sprintf("%s %s: %s => %s", op.Action, op.Object, op.Before, op.After)
	case op.After != "":
		return fmt.Sprintf("%s %s: %s", op.Action, op.Object, op.After)
	}
	return fmt.Sprintf("%s %s: %s", op.Action, op.Object, op.Before)
}

// proofText says what a proof gave, in one line.
func proofText(p *Point) string {
	if p.After == nil {
		return "no proof: the point could not be planned"
	}
	if p.After.Proved {
		return fmt.Sprintf("proved before apply: %d situations, %d pairs of address sets%s", p.After.Situations, p.After.Pairs, Besides(p.After.Findings))
	}
	if len(p.After.Wrong) > 0 {
		return "NOT PROVED: " + p.After.Wrong[0].String()
	}
	for _, f := range p.After.Findings {
		if !f.Harmless {
			return fmt.Sprintf("NOT PROVED: %s: %s", f.Object, f.Text)
		}
	}
	return "NOT PROVED"
}

// liveFlows says what becomes of flows that are open and newly denied: a promise that they
// end would be believed where a device only asks of new ones.
func liveFlows(p *Plan) string {
	var keep []string
	ends := false
	for i := range p.Points {
		if p.Points[i].KeepsFlows {
			keep = append(keep, p.Points[i].Name)
		} else {
			ends = true
		}
	}
	switch {
	case len(keep) == 0:
		return "live flows of these end"
	case !ends:
		return "live flows of these go on, see the notes of the points"
	}
	return fmt.Sprintf("live flows of these end, but not at %s, see the notes there", who(keep, ""))
}

// Besides says what a proof leaves out, because the site accepts it; "" for nothing.
func Besides(findings []driver.Finding) string {
	n := map[string]int{}
	var kinds []string // of what the device cannot express
	for _, f := range findings {
		switch {
		case f.Accepted && f.Foreign != "":
			n[f.Foreign]++
		case f.Accepted && !slices.Contains(kinds, f.Object):
			kinds = append(kinds, f.Object)
		}
	}
	out := ""
	if len(kinds) > 0 {
		out = "; but for what it cannot express, which is accepted: " + strings.Join(kinds, ", ")
	}
	for _, name := range slices.Sorted(maps.Keys(n)) {
		out += fmt.Sprintf("; table %s may drop besides, in %s (accept_foreign)", name, places(n[name]))
	}
	return out
}

func places(n int) string {
	if n == 1 {
		return "one place"
	}
	return fmt.Sprintf("%d places", n)
}

// driftText says whether what a point enforces now is what policy says now.
func driftText(p *Point) string {
	if p.Before == nil || p.First || len(p.Before.Wrong) == 0 {
		return ""
	}
	return p.Before.Wrong[0].String()
}

// Headline is the plan in one sentence.
func Headline(p *Plan) string {
	changes, first, failed := 0, 0, 0
	for _, pt := range p.Points {
		switch pt.Status {
		case Changes:
			changes++
		case Refused, Unreachable:
			failed++
		}
		if pt.First {
			first++
		}
	}
	permit, deny := 0, 0
	for _, f := range p.Flows {
		if f.Permit {
			permit++
		} else {
			deny++
		}
	}
	var parts []string
	switch {
	case changes > 0 && first > 0:
		parts = append(parts, fmt.Sprintf("%d of %s changes (%d for the first time)", changes, count(len(p.Points), "point", "points"), first))
	case changes > 0:
		parts = append(parts, fmt.Sprintf("%d of %s changes", changes, count(len(p.Points), "point", "points")))
	case failed == 0:
		parts = append(parts, "nothing to change")
	}
	if failed > 0 {
		parts = append(parts, count(failed, "point", "points")+" could not be planned")
	}
	out := strings.Join(parts, ", ")
	if permit+deny == 0 {
		return out + "; " + noFlows(p)
	}
	return out + fmt.Sprintf("; %s newly permitted, %d newly denied", count(permit, "set of flows", "sets of flows"), deny)
}

// noFlows says that no verdict changes, and of what that is not known.
func noFlows(p *Plan) string {
	if p.FlowsOmitted != "" {
		return p.FlowsOmitted
	}
	for _, pt := range p.Points {
		if pt.Status == Refused || pt.Status == Unreachable {
			return "no verdict changes on the points that could be planned"
		}
	}
	return "no verdict changes"
}

// count writes a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// worth is one remark of a plan besides its flows and points, for all renderings
// but JSON.
func worth(p *Plan) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if p.HasChanges() {
		add("%s", p.Baseline.String())
	}
	for _, u := range p.Undecided {
		if u.Problem != "" {
			add("undecided: %s in %s: %s", u.Asset, u.Group, u.Problem)
			continue
		}
		add("undecided: %s is not in %s, because it has no %s", u.Asset, u.Group, who(u.Missing, "?"))
	}
	for _, e := range p.Expiring {
		add("expires: %s (%s) at %s; with the controller away: %s", e.Policy, e.Where, e.Expires.Format("2006-01-02 15:04:05 MST"), e.Unattended)
	}
	for _, c := range p.Compared {
		if len(c.Several) > 0 {
			add("label %s: several values for %s", c.Label, short(who(c.Several, ""), maxAddresses))
		}
		if len(c.Without) > 0 {
			add("label %s: none on %s", c.Label, short(who(c.Without, ""), maxAddresses))
		}
	}
	return out
}
