package compile

import (
	"encoding/binary"
	"sort"
	"strings"

	"bulkhead/inventory"
)

// assetPlaces finds assets by ID. Sources and the merge give them in order of ID;
// only where they are in another one is there a map of them. A site of a million
// asks some million times, and most of what that costs is waiting for memory: eight
// bytes of each ID, side by side, answer nearly always.
type assetPlaces struct {
	assets []inventory.Asset
	common string   // what all IDs begin with
	heads  []uint64 // the eight bytes after that
	whole  bool     // there are no more, and none is 0: an equal head is an equal ID
	byID   map[string]int
}

func placesOf(assets []inventory.Asset) assetPlaces {
	p := assetPlaces{assets: assets}
	for i := 1; i < len(assets); i++ {
		if assets[i-1].ID >= assets[i].ID {
			p.byID = make(map[string]int, len(assets))
			for k := range assets {
				p.byID[assets[k].ID] = k
			}
			return p
		}
	}
	if len(assets) == 0 {
		return p
	}
	first, last := assets[0].ID, assets[len(assets)-1].ID
	n := 0
	for n < min(len(first), len(last)) && first[n] == last[n] {
		n++
	}
	p.common = first[:n]
	p.heads, p.whole = make([]uint64, len(assets)), true
	for i := range assets {
		p.heads[i] = head(assets[i].ID[n:])
		p.whole = p.whole && isWhole(assets[i].ID[n:])
	}
	return p
}

// isWhole reports whether no other such text has the same head.
func isWhole(s string) bool { return len(s) <= 8 && strings.IndexByte(s, 0) < 0 }

// head is the first eight bytes of a text as a number that orders as the text does,
// as far as it goes.
func head(s string) uint64 {
	if len(s) >= 8 {
		return binary.BigEndian.Uint64([]byte(s[:8]))
	}
	var b [8]byte
	copy(b[:], s)
	return binary.BigEndian.Uint64(b[:])
}

// find gives the place of an asset. Lists of members are in order, too: what comes
// behind the hint is looked at first.
func (p *assetPlaces) find(id string, hint int) (at int, ok bool) {
	if p.byID != nil {
		at, ok = p.byID[id]
		return at, ok
	}
	rest, ok := strings.CutPrefix(id, p.common)
	if !ok || len(p.heads) == 0 {
		return 0, false
	}
	h := head(rest)
	if hint >= len(p.heads) || p.heads[hint] >= h {
		hint = 0
	}
	step := 1
	for hint+step < len(p.heads) && p.heads[hint+step] < h {
		step *= 2
	}
	from, to := hint+step/2, min(hint+step+1, len(p.heads))
	if step == 1 {
		from = hint
	}
	at = from + sort.Search(to-from, func(i int) bool { return p.heads[from+i] >= h })
	if p.whole && isWhole(rest) {
		return at, at < len(p.heads) && p.heads[at] == h
	}
	end := at
	for end < len(p.heads) && p.heads[end] == h {
		end++
	}
	i, ok := sort.Find(end-at, func(i int) int { return strings.Compare(id, p.assets[at+i].ID) })
	return at + i, ok
}
