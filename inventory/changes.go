package inventory

import (
	"maps"
	"slices"
	"strings"
)

// Changes lists the assets that are new or have changed, and the IDs of those that are
// gone, in order. ok is false where they are more than most: then the lists are not
// complete. Facts and positions, which say where something was heard, change nothing that
// policy sees.
func Changes(old, now *Inventory, most int) (changed []*Asset, gone []string, ok bool) {
	a, b := old.Assets, now.Assets
	for len(a) > 0 || len(b) > 0 {
		if len(changed)+len(gone) > most {
			return changed, gone, false
		}
		order := 0
		switch {
		case len(a) == 0:
			order = 1
		case len(b) == 0:
			order = -1
		default:
			order = strings.Compare(a[0].ID, b[0].ID)
		}
		switch {
		case order < 0:
			gone = append(gone, a[0].ID)
			a = a[1:]
		case order > 0:
			changed = append(changed, &b[0])
			b = b[1:]
		default:
			if !sameToPolicy(&a[0], &b[0]) {
				changed = append(changed, &b[0])
			}
			a, b = a[1:], b[1:]
		}
	}
	return changed, gone, len(changed)+len(gone) <= most
}

// sameToPolicy compares all of two assets that groups and labels can depend on.
func sameToPolicy(a, b *Asset) bool {
	return a.ID == b.ID && a.Kind == b.Kind && slices.Equal(a.Addresses, b.Addresses) && slices.Equal(a.MACs, b.MACs) &&
		maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Attributes, b.Attributes) && slices.Equal(a.Attachments, b.Attachments)
}
