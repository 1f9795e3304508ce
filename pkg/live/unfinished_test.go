package live_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"bulkhead/drivers/nftables"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/live"
)

// deaf is a device that can be made not to answer reads.
type deaf struct {
	*nftables.Driver
	deaf bool
}

func (d *deaf) Read(ctx context.Context) (driver.State, error) {
	if d.deaf {
		return nil, errors.New("no answer")
	}
	return d.Driver.Read(ctx)
}

// A proof that could not be finished leaves nothing proved: what it had looked at is
// looked at again.
func TestUnfinishedProofProvesNothing(t *testing.T) {
	ctx := context.Background()
	s := newSite(t, 5, 12, false) // one table: no address is proved by itself
	d := &deaf{Driver: nftables.New(nftables.Options{Site: "live"})}
	l, err := live.Open(ctx, live.Options{Name: "live", Book: s.book, Points: gateway, Driver: d, Now: func() time.Time { return s.now }}, s.list(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Prove(ctx); err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		a := s.list()[i]
		s.address(&a)
		st, err := l.Asset(ctx, a)
		if err != nil {
			t.Fatal(err)
		}
		if st.Whole == "" && st.Touched > 0 {
			break
		}
		if _, err := l.Prove(ctx); err != nil {
			t.Fatal(err)
		}
	}
	d.deaf = true
	if _, err := l.Prove(ctx); err == nil {
		t.Fatal("a proof without a read")
	}
	d.deaf = false
	if p, err := l.Prove(ctx); err != nil || p.Whole == "" {
		t.Errorf("after a proof that failed: %+v, %v", p, err)
	}
}
