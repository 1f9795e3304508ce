//go:build !linux

package neighbor

import (
	"context"
	"errors"
)

// Read reads the neighbour tables of a Linux machine; this is none.
func Read(context.Context, string) (*Snapshot, error) {
	return nil, errors.New("neighbour tables can be read on Linux only")
}

// Watch hears of changes on a Linux machine; this is none.
func Watch(context.Context, string, What, func()) error {
	return errors.New("changes of neighbour tables can be heard of on Linux only")
}
