package drivers

import (
	"encoding/json"
	"fmt"
	"net/netip"

	"bulkhead/drivers/nftables"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// nftablesForm is our table as it is written down. Tables of others are never put
// back, so they are not in it.
type nftablesForm struct {
	Format string         `json:"format"`
	Site   string         `json:"site"`
	Own    []netip.Prefix `json:"own,omitempty"`
	Table  *ruleset.Table `json:"table"` // null: the device holds none
}

const nftablesFormat = "nftables 1"

func encodeNftables(s driver.State) ([]byte, error) {
	st, ok := s.(*nftables.State)
	if !ok || st == nil {
		return nil, fmt.Errorf("not a state of nf_tables: %T", s)
	}
	b, err := json.Marshal(nftablesForm{nftablesFormat, st.Site, st.Own.Prefixes(), st.Table()})
	if err != nil {
		return nil, err
	}
	// A name that is not UTF-8 would come back as another one: what cannot be read
	// back is found now, not on the day when it is needed.
	back, err := decodeNftables(b)
	if err != nil {
		return nil, err
	}
	if got := back.(*nftables.State); got.OwnFingerprint() != st.OwnFingerprint() || !got.Own.Equal(st.Own) {
		return nil, fmt.Errorf("the table of site %q cannot be written down exactly", st.Site)
	}
	return b, nil
}

func decodeNftables(b []byte) (driver.State, error) {
	var f nftablesForm
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("not a written state of nf_tables: %w", err)
	}
	if f.Format != nftablesFormat {
		return nil, fmt.Errorf("a state of nf_tables in the format %q; this program knows %q", f.Format, nftablesFormat)
	}
	s := nftables.Empty(f.Site)
	s.Own = packet.AddrsOf(f.Own...)
	if f.Table != nil {
		s.Ruleset.Tables = append(s.Ruleset.Tables, *f.Table)
	}
	return s, nil
}
