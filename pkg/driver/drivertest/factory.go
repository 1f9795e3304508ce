package drivertest

import (
	"net/netip"
	"slices"
	"testing"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/drivertest/sim"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
)

// Site is the name of the site that the suite plays.
const Site = "test"

// Factory makes devices of one kind for the suite.
type Factory struct {
	Name string
	// New makes a device that holds nothing of ours. What it needs it takes away with
	// t.Cleanup.
	New func(t testing.TB) *Subject
	// Placements are the points that devices of this kind take. The first is the one
	// that checks use which need only one; it should be as simple as can be.
	Placements []Placement
	// Plug gives a placement the ports of the devices, for devices that judge at ports; nil for
	// others.
	Plug func(Placement) Placement
	// World narrows random sites to what the device has room for.
	World policytest.Options
	// Random is the number of random sequences; 0 leaves it to rapid, which then also
	// shrinks what fails. Set it for devices that take seconds.
	Random int
	// Budget is too small for the story's sites.
	Budget map[string]int
	// Inherent are the kinds of residue that every device of this kind has, whatever way a
	// point takes with what is inexact: a site accepts them by name or has no such device.
	Inherent []string
	// Everything is what the story's policies name that mean every service; nil is all the
	// protocols there are. It is for devices that allow and never deny: to them "all but ssh"
	// is a rule for each of the other 255 protocols, times the prefixes.
	Everything []policy.Range
	// MayRefuse is set where a device has so little room that a random site may need more:
	// then it is refused, and what was there must stay.
	MayRefuse bool
}

// inherent reports whether all of a residue is inherent to the device.
func (f *Factory) inherent(all []driver.Residue) bool {
	return !slices.ContainsFunc(all, func(r driver.Residue) bool { return !slices.Contains(f.Inherent, r.Kind) })
}

// Placement makes the points of a device. The addresses are those that endpoint
// points are to protect; a transit point has no use for them.
type Placement struct {
	Name   string
	Points func(protects packet.Addrs) []compile.Point
}

// Subject is one device under test. Driver is required; every other hook widens
// what is checked.
type Subject struct {
	// Driver gives a driver value for the device, a new one each time: the restart of
	// the controller.
	Driver func() driver.Driver
	// Unreachable gives a driver whose device does not answer.
	Unreachable func() driver.Driver

	// Dump gives all that the device holds, without counters and what else moves by
	// itself.
	Dump func() []byte
	// AddForeign puts objects of others on the device that are none of our business,
	// among them some whose names nearly are ours. Foreign gives their bytes.
	AddForeign func()
	Foreign    func() []byte
	// AddRival puts an object of somebody else where it lets through what our points
	// must drop.
	AddRival func()

	// Tamper changes one native object of ours behind the driver's back, another for
	// every n, and says what it did.
	Tamper func(n int) string

	// Fail makes the fault happen after skip more calls of its kind, and Heal takes all
	// faults away. Faults are those that Fail knows.
	Fail   func(f sim.Fault, skip int)
	Heal   func()
	Faults []sim.Fault
	// Steps has after called after every native write; nil stops it. Devices that are
	// not atomic must have it.
	Steps func(after func())

	// Passes says what the device itself would do with the first packets between two
	// addresses, were it in the given state. It shares nothing with the decoder.
	Passes func(s driver.State, hook string, src, dst netip.Addr) func(service uint32, srcPort uint16) bool
	// PassesAt is Passes for devices that judge at ports: what one of them does.
	PassesAt func(s driver.State, hook, port string, src, dst netip.Addr) func(service uint32, srcPort uint16) bool
	// Mutants breaks a state in the ways of a wrong renderer.
	Mutants func(s driver.State) []Mutant
}

// Mutant is a native state with one thing wrong.
type Mutant struct {
	Kind  string
	State driver.State
}

// Check is one demand on drivers.
type Check struct {
	Name string
	// Needs tells what hook of the subject is missing; "" if none is.
	Needs func(s *Subject) string
	Run   func(t testing.TB, f *Factory)
}

// Checks lists the suite.
func Checks() []Check {
	return []Check{
		{"Story #6 #13", needsNothing, checkStory},
		{"RandomSequence #6 #9", needsNothing, checkRandom},
		{"NestedPrefixes #9", needsNothing, checkNested},
		{"BothFamilies #5 #10", needsNothing, checkFamilies},
		{"EmptyGroupIsNotAny #1 #2", needsNothing, checkEmpty},
		{"RestartForgetsNothing #7", needsNothing, checkRestart},
		{"RemovalLeavesNothing", needsNothing, checkRemoval},
		{"SameInputSameState", needsNothing, checkDeterminism},
		{"OverBudgetWritesNothing", needsNothing, checkBudget},
		{"ResidueIsEnumerated #14", needsNothing, checkResidue},
		{"UnreachableIsNotEmpty #7 #8", func(s *Subject) string { return missing(s.Unreachable == nil, "Unreachable") }, checkUnreachable},
		{"ForeignObjectsStay", func(s *Subject) string {
			return missing(s.AddForeign == nil || s.Foreign == nil, "AddForeign, Foreign")
		}, checkForeign},
		{"RivalIsNamed", func(s *Subject) string { return missing(s.AddRival == nil, "AddRival") }, checkRival},
		{"DriftIsFoundAndRepaired", needsTamper, checkDrift},
		{"MovedDeviceIsLeftAlone", needsTamper, checkMoved},
		{"FailedReadIsNotEmpty #7 #8", needsFaults, checkFailedRead},
		{"StaleReadIsNotTrusted", needsFaults, checkStaleRead},
		{"FailedWriteShowsTheTruth #13", needsFaults, checkFailedWrite},
		{"HalfAChangeCanBeUndone #13", needsFaults, checkUndo},
		{"DecoderAgreesWithDevice", func(s *Subject) string { return missing(s.Passes == nil && s.PassesAt == nil, "Passes") }, checkDecoder},
		{"MutantsAreFound", func(s *Subject) string {
			return missing(s.Mutants == nil || s.Passes == nil && s.PassesAt == nil, "Mutants, Passes")
		}, checkMutants},
	}
}

func missing(is bool, hooks string) string {
	if is {
		return hooks
	}
	return ""
}

func needsNothing(*Subject) string { return "" }

func needsTamper(s *Subject) string { return missing(s.Tamper == nil, "Tamper") }

func needsFaults(s *Subject) string { return missing(s.Fail == nil || s.Heal == nil, "Fail, Heal") }

// Run holds a driver to the contract.
func Run(t *testing.T, f Factory) {
	t.Helper()
	s := f.New(t)
	for _, c := range Checks() {
		if hooks := c.Needs(s); hooks != "" {
			t.Logf("not checked: %s: the factory of %s has no %s", c.Name, f.Name, hooks)
			continue
		}
		t.Run(c.Name, func(t *testing.T) { c.Run(t, &f) })
	}
}
