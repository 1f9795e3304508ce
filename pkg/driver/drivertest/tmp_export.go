package drivertest

import (
	"context"
	"fmt"
	"testing"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/prove"
)

func Bring(t testing.TB, d driver.Driver, p Placement) string {
	g := newGoal(t, before().site.world(), p.Points(web()))
	have, _ := d.Read(context.Background())
	r, err := d.Render(g.want, have)
	if err != nil {
		return err.Error()
	}
	c, _ := d.Diff(have, r.State)
	if err := d.Apply(context.Background(), c); err != nil {
		return err.Error()
	}
	return ""
}

func Wrong(t testing.TB, d driver.Driver, p Placement) string {
	g := newGoal(t, before().site.world(), p.Points(web()))
	have, _ := d.Read(context.Background())
	dec, _ := d.Decode(have)
	rs := prove.Device(g.want.View.Matrix, g.want.Points, dec)
	return fmt.Sprintf("prove: %v; strict: %s", rs[0].Proved, difference(g, dec, nil))
}
