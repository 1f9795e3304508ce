package main

import (
	"testing"

	"bulkhead/bench/estate"
)

// These guards hold the complexity of the way into the kernel by what can be
// counted on any machine. Nothing here looks at a clock: a machine that is busy
// must not fail them, and one that is fast must not hide a square.

// An address more is an element more. What is written for pairs of classes grows with
// the addresses in them only as long as some classes lack a family.
func TestElementsGrowWithAddresses(t *testing.T) {
	elements := func(addresses int) int {
		s, err := rendered(estate.Small(addresses))
		if err != nil {
			t.Fatal(err)
		}
		return s.elements()
	}
	const few, many = 2000, 4000
	one, two := elements(few), elements(many)
	if more := two - one; more < (many-few)*9/10 || more > (many-few)*3/2 {
		t.Errorf("%d addresses more are %d elements more", many-few, more)
	}
}

// Every address of the estate costs one element of a map of addresses, and there is
// none for an address that nobody holds.
func TestOneElementForAnAddress(t *testing.T) {
	const addresses = 3000
	s, err := rendered(estate.New(estate.Options{Addresses: addresses, Policies: 100}))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	table := s.state.Table()
	for i := range table.Sets {
		if name := table.Sets[i].Name; name == "host4" || name == "host6" {
			n += len(table.Sets[i].Elements)
		}
	}
	// An address whose class is that of the gap around it needs none, and a gap of one
	// address has one.
	if n > addresses*3/2 || n < addresses/2 {
		t.Errorf("%d elements for %d addresses", n, addresses)
	}
}

// An address more costs a few kilobytes on its way into the kernel, and no more for
// there being many classes: a list of addresses that is copied for every pair of
// classes shows here. For a million addresses one such list took two minutes.
func TestAllocationsGrowWithAddresses(t *testing.T) {
	bytesFor := func(addresses int) (prepare, render float64) {
		s := newSite(estate.Small(addresses))
		prepare = allocated(t, s.prepare)
		return prepare, allocated(t, s.render)
	}
	const few, many, most = 1500, 6000, 8000
	p1, r1 := bytesFor(few)
	p2, r2 := bytesFor(many)
	for step, more := range map[string]float64{"compiling": p2 - p1, "rendering": r2 - r1} {
		if each := more / (many - few); each > most {
			t.Errorf("%s allocates %.0f bytes for each address more", step, each)
		}
	}
}

// The way through the tables of pairs is bounded by how many there are.
func TestTablesAskedAreBounded(t *testing.T) {
	s := newSite(estate.New(estate.Scale(3000)))
	if err := s.prepare(); err != nil {
		t.Fatal(err)
	}
	l, err := s.layout()
	if err != nil {
		t.Fatal(err)
	}
	w := newWalker(l)
	for i := 0; i+1 < len(s.assets); i += 97 {
		a, b := s.assets[i].Addresses[0].Addr(), s.assets[i+1].Addresses[0].Addr()
		asked, permit := w.walk(a, b, 17<<16|53)
		if asked < 1 || asked > len(l.Spaces) {
			t.Errorf("a flow asks %d of %d tables", asked, len(l.Spaces))
		}
		if want := s.matrix.Verdict(a, b, 17<<16|53).Permit; permit != want {
			t.Errorf("%s to %s: the layout says %v, policy %v", a, b, permit, want)
		}
	}
}
