package drivers

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"

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
	Table  *ruleset.Table `json:"table"` // without elements; null: the device holds none
	// Elements are those of each set, see ruleset.PackElements.
	Elements [][]byte `json:"elements,omitempty"`
}

// The formats that are read; the last one is written. The first had the elements in
// the table.
const (
	nftablesFormat1 = "nftables 1"
	nftablesFormat  = "nftables 2"
)

func encodeNftables(s driver.State) ([]byte, error) {
	st, ok := s.(*nftables.State)
	if !ok || st == nil {
		return nil, fmt.Errorf("not a state of nf_tables: %T", s)
	}
	f := nftablesForm{Format: nftablesFormat, Site: st.Site, Own: st.Own.Prefixes()}
	if t := st.Table(); t != nil {
		bare := *t
		bare.Sets = slices.Clone(t.Sets)
		for i := range bare.Sets {
			f.Elements = append(f.Elements, ruleset.PackElements(bare.Sets[i].Elements))
			bare.Sets[i].Elements = nil
		}
		f.Table = &bare
	}
	if err := exact(f); err != nil {
		return nil, err
	}
	return json.Marshal(f)
}

// exact fails where what is no element would come back as something else: a name that
// is not UTF-8 does. What cannot be read back is found now, not on the day when it is
// needed. Elements are bytes, and come back as they are.
func exact(f nftablesForm) error {
	f.Elements = slices.Repeat([][]byte{ruleset.PackElements(nil)}, len(f.Elements))
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	back, err := decodeNftables(b)
	if err != nil {
		return err
	}
	bare := nftables.Empty(f.Site)
	if f.Table != nil {
		bare.Ruleset.Tables = []ruleset.Table{*f.Table}
	}
	if got := back.(*nftables.State); got.OwnFingerprint() != bare.OwnFingerprint() || !got.Own.Equal(packet.AddrsOf(f.Own...)) {
		return fmt.Errorf("the table of site %q cannot be written down exactly", f.Site)
	}
	return nil
}

func decodeNftables(b []byte) (driver.State, error) {
	var f nftablesForm
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("not a written state of nf_tables: %w", err)
	}
	switch {
	case f.Format == nftablesFormat && f.Table != nil:
		if len(f.Elements) != len(f.Table.Sets) {
			return nil, errors.New("a written state of nf_tables has lost the elements of a set")
		}
		for i, b := range f.Elements {
			var err error
			if f.Table.Sets[i].Elements, err = ruleset.UnpackElements(b); err != nil {
				return nil, fmt.Errorf("set %q of a written state of nf_tables: %w", f.Table.Sets[i].Name, err)
			}
		}
	case f.Format != nftablesFormat && f.Format != nftablesFormat1:
		return nil, fmt.Errorf("a state of nf_tables in the format %q; this program knows %q", f.Format, nftablesFormat)
	}
	s := nftables.Empty(f.Site)
	s.Own = packet.AddrsOf(f.Own...)
	if f.Table != nil {
		s.Ruleset.Tables = append(s.Ruleset.Tables, *f.Table)
	}
	return s, nil
}
