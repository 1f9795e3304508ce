package prove

import (
	"sync"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// Cache keeps what was shown of a device's tables from one proof to the next. A table
// is taken for proved only if it is the very table that was (a decoder with a cache
// gives out the same ones for the same state), and the matrix is the very one that it
// was held against. Tables and matrices are values that nobody changes. Everything
// else of a proof, overlays and findings among it, is done every time.
//
// It keeps what concerns the tables of the last proof and nothing older: as much as
// the proof held by itself. The zero value is ready; it may be used by several
// goroutines, one after the other. A nil one keeps nothing.
type Cache struct {
	mu sync.Mutex
	m  *compile.Matrix
	pr *prover
}

// Device is the package's Device, with what was shown before.
func (c *Cache) Device(m *compile.Matrix, points []compile.Point, d *driver.Decoded, residue ...driver.Residue) []Result {
	if c == nil {
		return Device(m, points, d, residue...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	pr := newProver(m)
	if c.m == m && c.pr != nil {
		pr.proved, pr.before = c.pr.proved, c.pr.sides
	}
	c.m, c.pr = m, nil // nothing is kept of a proof that was not finished
	out := deviceBy(pr, m, points, d, residue)
	if pr.forget() {
		for _, side := range pr.sides {
			side.cache = newCache()
		}
	}
	pr.before = nil
	c.pr = pr
	return out
}

// shown is what was shown of a table.
type shown struct {
	svc   packet.Services
	pairs int  // compared for it
	met   bool // in this proof
}

// forget drops the tables that a proof did not meet, and readies the others for the
// next one. It reports whether there were any.
func (p *prover) forget() bool {
	gone := false
	for key, s := range p.proved {
		if !s.met {
			delete(p.proved, key)
			gone = true
		}
		s.met = false
	}
	return gone
}

// known gives what was shown of a table before. At the first time in a proof, what
// was compared for it counts.
func (p *prover) known(t *driver.Table, expired bool, pairs *int) packet.Services {
	s := p.proved[provedKey{t, expired}]
	if s == nil {
		return nil
	}
	if !s.met {
		s.met = true
		*pairs += s.pairs
	}
	return s.svc
}

// show notes that some services of a table were shown.
func (p *prover) show(t *driver.Table, expired bool, svc packet.Services, pairs int) {
	key := provedKey{t, expired}
	s := p.proved[key]
	if s == nil {
		s = &shown{}
		p.proved[key] = s
	}
	s.svc, s.pairs, s.met = s.svc.Union(svc), s.pairs+pairs, true
}
