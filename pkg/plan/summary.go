package plan

import (
	"fmt"
	"strings"

	"bulkhead/pkg/driver"
)

// The bounds of what people are shown; JSON has everything.
const (
	maxSets      = 6
	maxOps       = 40
	maxUncovered = 12
	maxAddresses = 90 // characters of one side of a flow set
)

// who writes a list of groups as people say it.
func who(groups []string, empty string) string {
	if len(groups) == 0 {
		return empty
	}
	return strings.Join(groups, ", ")
}

// flowTitle is the first line of a flow change: who to whom, and what.
func flowTitle(f *FlowChange) string {
	return fmt.Sprintf("%s -> %s: %s", who(f.From, "anybody"), who(f.To, "anybody"), short(f.Services, 120))
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
		return fmt.Sprintf("proved before apply: %d situations, %d pairs of address sets", p.After.Situations, p.After.Pairs)
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
	out := fmt.Sprintf("%d of %d points change", changes, len(p.Points))
	if changes == 0 {
		out = "nothing to change"
	}
	if first > 0 {
		out += fmt.Sprintf(" (%d for the first time)", first)
	}
	if failed > 0 {
		out += fmt.Sprintf(", %d could not be planned", failed)
	}
	return out + fmt.Sprintf("; %d sets of flows newly permitted, %d newly denied", permit, deny)
}
