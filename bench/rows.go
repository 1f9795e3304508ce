package main

import (
	"slices"
	"time"

	"bulkhead/bench/estate"
	"bulkhead/bench/harness"
)

// size says of what size the work is.
type size struct {
	estate  func(estate.Options) *estate.Estate
	peers   func() *estate.Estate
	shared  func() *estate.Estate // 100,000 addresses, for packets and nft
	million func() *estate.Estate
	packets packetSize
	moves   int // changes of single assets
	proofs  int // of those, each by itself
	// policies is how many policies are added, and removed again.
	policies int
	day      int // changes in a row, for what they leave behind
	// cells is how many points the daemon has that finds nothing changed; quiet is how
	// long it is left alone before its memory is looked at; responses is how many times it
	// is made to do something at once.
	cells     int
	quiet     time.Duration
	responses int
	takes     int // changes of the site directory that the daemon takes over
	instances int // of the simulated cloud
}

func sizeOf(small bool) size {
	if !small {
		return size{estate.New, estate.Peers, estate.Addresses100k, estate.Million, packetSize{
			flows: 10_000, sampled: 300, rounds: 15, fresh: 5_000, freshRounds: 15,
		}, 500, 400, 20, 4000, 1000, 30 * time.Second, 3, 2, 1000}
	}
	few := func(n int) func() *estate.Estate { return func() *estate.Estate { return estate.Small(n) } }
	return size{
		estate: func(o estate.Options) *estate.Estate {
			s := estate.Scale(2000)
			o.Addresses, o.Policies = s.Addresses, s.Policies
			return estate.New(o)
		},
		peers: few(1000), shared: few(1000), million: few(2000),
		packets: packetSize{flows: 200, sampled: 40, rounds: 3, fresh: 200, freshRounds: 3},
		moves:   15,
		proofs:  3, policies: 2,
		day: 240, cells: 20, quiet: time.Second, responses: 2, takes: 1, instances: 50,
	}
}

// rows are the lines of the table, in its order.
func rows(s size) []harness.Row {
	return slices.Concat(estateRows(s), liveRows(s), dayRows(s), loadRows(s), packetRows(s), driftRows(s), daemonRows(s), cloudRows(s))
}
