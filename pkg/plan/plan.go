// Package plan holds the plan as a value: what would change, point by point, the
// flows that it newly permits and newly denies, the proof, and the brakes. Text,
// JSON, Markdown and HTML are renderings of the same value; nothing parses them
// back.
package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"bulkhead/inventory"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/prove"
)

// FormatVersion is the version of the JSON form. A minor step adds keys; a major
// one changes or removes some.
const FormatVersion = "1.1"

// Plan is everything that an apply would do, and what it was made from. Lists
// are never null and come in a fixed order.
type Plan struct {
	FormatVersion string `json:"formatVersion"`
	// ID digests everything that the plan binds: policy, inventory, the devices'
	// states and the changes. Two plans with one ID do the same.
	ID            string    `json:"id"`
	Site          string    `json:"site"`
	MadeAt        time.Time `json:"madeAt"`
	PolicyHash    string    `json:"policyHash"`
	InventoryHash string    `json:"inventoryHash"`

	Flows []FlowChange `json:"flows"`
	// FlowsOmitted says why Flows is no complete list; "" where it is.
	FlowsOmitted string      `json:"flowsOmitted,omitempty"`
	Points       []Point     `json:"points"`
	Brakes       []Brake     `json:"brakes"`
	Tests        TestSummary `json:"tests"`
	Classes      Size        `json:"size"`

	// Sources are those whose report of now does not simply count.
	Sources []inventory.Standing `json:"sources"`
	// Baseline is what the brakes compare with.
	Baseline  Baseline             `json:"baseline"`
	Uncovered []compile.Uncovered  `json:"uncovered"`
	Conflicts []inventory.Conflict `json:"conflicts"`
	Undecided []Undecided          `json:"undecided"`
	Expiring  []Expiring           `json:"expiring"`
	Compared  []ComparedLabel      `json:"comparedLabels"`
	Warnings  []string             `json:"warnings"`
}

// Status is where a point stands.
type Status string

// The statuses.
const (
	InSync      Status = "in sync"
	Changes     Status = "changes"
	Refused     Status = "refused"     // the device cannot take what policy wants
	Unreachable Status = "unreachable" // it could not be read: nothing is known of it
)

// Point is the plan for one enforcement point.
type Point struct {
	Name   string `json:"name"`
	Driver string `json:"driver"`
	// Device names what the point shares with others: changes of one device are
	// made together.
	Device string `json:"device"`
	Mode   string `json:"mode"`
	Status Status `json:"status"`
	Error  string `json:"error,omitempty"`
	// First is set for the first enforcement.
	First bool `json:"first"`
	// Ops are the device's changes; they stand with its first point.
	Ops       []driver.Op      `json:"ops"`
	Usage     []driver.Usage   `json:"usage"`
	Residue   []driver.Residue `json:"residue"`
	Essential []string         `json:"essential"`
	Failsafe  []string         `json:"failsafe"`
	// KeepsFlows is set where flows that are open go on when they are newly denied.
	KeepsFlows bool `json:"keepsFlows,omitempty"`
	// Notes are of the point, and the device's own, which stand with its first point.
	Notes []string `json:"notes,omitempty"`
	// Before is the proof of what the device enforces now, against policy as it is
	// now; After that of what would be installed.
	Before *prove.Result `json:"before,omitempty"`
	After  *prove.Result `json:"after,omitempty"`
	// State digests the device's native state, ours and foreign, as read.
	State string `json:"state"`
	// NewlyDenied is the share of the flows that the device permitted when it was last
	// confirmed, and would deny; it stands with the device's first point, where it is
	// known.
	NewlyDenied *Share `json:"newlyDenied,omitempty"`
}

// Share is a part of the flows that a device permits.
type Share struct {
	Percent float64 `json:"percent"` // to one decimal
	// Estimated is set where too many pairs of addresses were to be looked at, and a
	// fixed sample of them was.
	Estimated bool `json:"estimated"`
}

// Baseline is the apply whose inventory, policy and settings the brakes compare
// with: the last confirmed one of all points. Empty: there is none, and the brakes
// that compare hold nothing.
type Baseline struct {
	Apply string    `json:"apply,omitempty"`
	At    time.Time `json:"at,omitzero"`
	// Why says why there is none; "" if there is one.
	Why string `json:"why,omitempty"`
}

// String says in one sentence what the brakes compare with.
func (b *Baseline) String() string {
	if b.Why != "" {
		return "brakes compare with nothing: " + b.Why
	}
	return fmt.Sprintf("brakes compare with apply %s of %s", b.Apply, b.At.UTC().Format("2006-01-02 15:04:05 MST"))
}

// FlowChange is a set of flows whose verdict changes, under what decides them.
type FlowChange struct {
	Permit bool `json:"permit"` // newly permitted; else newly denied
	// By names what decides: a policy with file:line, a default with the groups that
	// isolate, or an overlay (failsafe, observe mode).
	By       string   `json:"by"`
	Policy   string   `json:"policy,omitempty"`
	From     []string `json:"from"`
	To       []string `json:"to"`
	Services string   `json:"services"`
	// Sets are rectangles that together are exactly the flows: every source to
	// every destination of one.
	Sets    []FlowSet `json:"sets"`
	Witness Witness   `json:"witness"`
	Points  []string  `json:"points"`
}

// FlowSet is every source to every destination.
type FlowSet struct {
	Src string `json:"src"`
	Dst string `json:"dst"`
}

// Witness is one flow of a set.
type Witness struct {
	Src     string `json:"src"`
	Dst     string `json:"dst"`
	Service string `json:"service"`
}

// Brake is a limit on the effect of a plan.
type Brake struct {
	Name string `json:"name"`
	Saw  string `json:"saw"` // one sentence
}

// TestSummary is the result of the policy tests, which run before every plan.
type TestSummary struct {
	Passed int      `json:"passed"`
	Failed []string `json:"failed"`
}

// Size is how big the compiled site is.
type Size struct {
	Assets   int `json:"assets"`
	Groups   int `json:"groups"`
	Policies int `json:"policies"`
	Classes  int `json:"classes"`
	Rows     int `json:"rows"`
	Cols     int `json:"cols"`
	Cells    int `json:"cells"`
}

// Undecided is an asset whose membership nobody can tell.
type Undecided struct {
	Group   string   `json:"group"`
	Asset   string   `json:"asset"`
	Missing []string `json:"missing"`
	Problem string   `json:"problem,omitempty"`
}

// Expiring is a policy that will end by itself.
type Expiring struct {
	Policy  string    `json:"policy"`
	Where   string    `json:"where"`
	Expires time.Time `json:"expires"`
	// Unattended says what becomes of it if the controller is not there then.
	Unattended string `json:"unattended"`
}

// ComparedLabel lists what `same` and `differ` cannot tell plainly.
type ComparedLabel struct {
	Label   string   `json:"label"`
	Several []string `json:"several"` // addresses with several values
	Without []string `json:"without"` // assets without one
}

// HasChanges reports whether anything would be written.
func (p *Plan) HasChanges() bool {
	for _, pt := range p.Points {
		if pt.Status == Changes {
			return true
		}
	}
	return false
}

// Blocked says why the plan must not be applied as it stands; "" if it may.
func (p *Plan) Blocked() string {
	if len(p.Tests.Failed) > 0 {
		return fmt.Sprintf("a policy test fails (%d in all): %s", len(p.Tests.Failed), p.Tests.Failed[0])
	}
	for _, pt := range p.Points {
		if pt.After != nil && !pt.After.Proved {
			return "what would be installed on point " + pt.Name + " is not proved"
		}
	}
	return ""
}

// Seal computes the plan's ID.
func (p *Plan) Seal() error {
	bare := *p
	bare.ID, bare.MadeAt = "", time.Time{}
	// What an apply that was held has written down meanwhile makes no other plan.
	bare.Baseline = Baseline{}
	bare.Sources = nil
	for _, s := range p.Sources {
		bare.Sources = append(bare.Sources, inventory.Standing{Source: s.Source, State: s.State})
	}
	bare.Points = slices.Clone(p.Points)
	for i := range bare.Points {
		bare.Points[i].Before, bare.Points[i].After = timeless(bare.Points[i].Before), timeless(bare.Points[i].After)
		bare.Points[i].Notes = nil // a launch template that somebody adds makes no other plan
	}
	b, err := json.Marshal(bare)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	p.ID = hex.EncodeToString(sum[:8])
	return nil
}

// timeless leaves out of a proof what is said of harmless findings: how long a point
// still learns is another time every second, and nobody could approve the plan before
// it is over.
func timeless(r *prove.Result) *prove.Result {
	if r == nil {
		return nil
	}
	out := *r
	out.Findings = slices.Clone(r.Findings)
	for i := range out.Findings {
		if f := &out.Findings[i]; f.Harmless {
			f.Text, f.Observing = "", 0
		}
	}
	return &out
}
