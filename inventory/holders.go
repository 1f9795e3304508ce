package inventory

import (
	"net/netip"
	"slices"
)

// holders finds who holds an address. What was taken is noted as it comes, and
// sorted in when somebody asks: most merges never do.
type holders struct {
	asked  bool // somebody will ask: a source may add addresses, but create no assets
	taken  []taking
	sorted int // how many of taken are in the maps

	hosts  map[netip.Prefix][]*cluster
	nets   map[netip.Prefix][]*cluster // prefixes wider than a host
	widths [2][129]bool                // which lengths nets has, by family
	wide   []*cluster                  // those with a prefix in nets
}

type taking struct {
	prefix netip.Prefix
	by     *cluster
}

// note says that c has taken addresses.
func (h *holders) note(c *cluster, ps ...netip.Prefix) {
	if !h.asked {
		return
	}
	for _, p := range ps {
		h.taken = append(h.taken, taking{p, c})
	}
}

func (h *holders) sort() {
	if h.hosts == nil {
		h.hosts = make(map[netip.Prefix][]*cluster, len(h.taken))
		h.nets = map[netip.Prefix][]*cluster{}
	}
	for ; h.sorted < len(h.taken); h.sorted++ {
		p, c := h.taken[h.sorted].prefix, h.taken[h.sorted].by
		if IsHost(p) {
			h.hosts[p] = append(h.hosts[p], c)
			continue
		}
		if c.wideAt == 0 {
			h.wide = append(h.wide, c)
			c.wideAt = len(h.wide)
		}
		h.nets[p] = append(h.nets[p], c)
		h.widths[family(p)][p.Bits()] = true
	}
}

func family(p netip.Prefix) int {
	if p.Addr().Is4() {
		return 0
	}
	return 1
}

// holder returns a machine other than c that holds all or part of p, or nil: one
// that holds p itself if p is a host, else the first that holds a prefix around
// it, else, for a prefix, the first of all that holds part of it.
func (h *holders) holder(p netip.Prefix, c *cluster, all []*cluster) *cluster {
	h.sort()
	other := func(o *cluster) bool { return o != c && o.claimsMachine() }
	if !IsHost(p) {
		overlaps := func(o *cluster) bool { return other(o) && slices.ContainsFunc(o.prefixes(), p.Overlaps) }
		for _, list := range [][]*cluster{h.wide, all} {
			if i := slices.IndexFunc(list, overlaps); i >= 0 {
				return list[i]
			}
		}
		return nil
	}
	for _, o := range h.hosts[p] {
		if other(o) {
			return o
		}
	}
	var first *cluster
	for bits, there := range h.widths[family(p)] {
		if !there {
			continue
		}
		around := netip.PrefixFrom(p.Addr(), bits).Masked()
		for _, o := range h.nets[around] {
			if (first == nil || o.wideAt < first.wideAt) && other(o) {
				first = o
			}
		}
	}
	return first
}
