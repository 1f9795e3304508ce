package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"bulkhead/bench/estate"
	"bulkhead/bench/harness"
	"bulkhead/pkg/live"
	"bulkhead/pkg/policy"
)

// changing is an estate that is loaded and proved, and whose policies change.
type changing struct {
	book *policy.Rulebook
	now  time.Time
	live *live.Site
}

// withPolicy loads an estate; first says what is in its rulebook besides.
func withPolicy(ctx context.Context, e *estate.Estate, first ...policy.Policy) (*changing, error) {
	c := &changing{book: e.Book, now: newYear}
	e.Book = c.with(first...)
	var err error
	if c.live, err = follow(ctx, e, func() time.Time { return c.now }); err != nil {
		return nil, err
	}
	if _, err = c.live.Prove(ctx); err != nil {
		c.live.Close()
		return nil, err
	}
	return c, nil
}

var newYear = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// with is the estate's rulebook and some policies more.
func (c *changing) with(more ...policy.Policy) *policy.Rulebook {
	b := *c.book
	b.Policies = append(slices.Clone(b.Policies), more...)
	policy.SortPolicies(b.Policies)
	return &b
}

// another is a policy between the groups of one of the estate's, of a service that none
// of these has.
func another(of policy.Policy) policy.Policy {
	of.Name, of.Order = "another", 500
	of.Ranges = []policy.Range{{Proto: 6, Lo: 4711, Hi: 4711}}
	return of
}

// policyChanges adds policies and takes them away again, one after the other: each
// like one of the estate's, drawn by the published seed.
func policyChanges(ctx context.Context, r *harness.Recorder, e *estate.Estate, n int) error {
	c, err := withPolicy(ctx, e)
	if err != nil {
		return err
	}
	defer c.live.Close()
	rnd := rand.New(rand.NewPCG(estate.Seed, 6))
	took, touched := map[bool][]float64{}, map[bool][]float64{}
	whole := 0
	if err := r.Measure("changes", func() error {
		for range n {
			p := another(c.book.Policies[rnd.IntN(len(c.book.Policies))])
			for _, added := range []bool{true, false} {
				book := c.book
				if added {
					book = c.with(p)
				}
				at := time.Now()
				st, err := c.live.Book(ctx, book)
				d := time.Since(at).Seconds()
				if err != nil {
					return err
				}
				if st.Whole != "" {
					whole++
					if _, err := c.live.Prove(ctx); err != nil {
						return err
					}
					continue
				}
				took[added], touched[added] = append(took[added], d), append(touched[added], float64(st.Touched))
			}
		}
		return nil
	}); err != nil {
		return err
	}
	r.Spread("policy added, "+event+" and proof", harness.Seconds, took[true])
	r.Spread("policy added, touched", harness.Count, touched[true])
	r.Spread("policy removed, "+event+" and proof", harness.Seconds, took[false])
	r.Spread("policy removed, touched", harness.Count, touched[false])
	r.Value("changes of a policy", harness.Count, float64(2*n))
	r.Value("changes of a policy that took the site anew", harness.Count, float64(whole))
	return c.wholly(ctx, r)
}

// expiry lets the one policy end that expires.
func expiry(ctx context.Context, r *harness.Recorder, e *estate.Estate) error {
	// What a policy that expires concerns is judged whole, pair by pair: not the one that
	// is from everybody to everybody.
	list := e.Book.Policies[len(e.Book.Policies)/2:]
	p := another(list[slices.IndexFunc(list, func(p policy.Policy) bool { return len(p.Same) == 0 })])
	p.Expires = newYear.Add(time.Hour)
	c, err := withPolicy(ctx, e, p)
	if err != nil {
		return err
	}
	defer c.live.Close()
	c.now = c.now.Add(2 * time.Hour)
	var st live.Step
	if err := r.Measure("change", func() (err error) {
		st, err = c.live.Expire(ctx)
		return err
	}); err != nil {
		return err
	}
	r.Value("touched", harness.Count, float64(st.Touched))
	if st.Whole != "" {
		r.Note("the site was made anew: %s.", st.Whole)
	}
	return c.wholly(ctx, r)
}

// wholly proves the device whole at the end, against a compile from nothing.
func (c *changing) wholly(ctx context.Context, r *harness.Recorder) error {
	c.now = c.now.Add(48 * time.Hour) // it is read whole once a day
	p, err := c.live.Prove(ctx)
	r.Check(err == nil && p.Whole != "", "after all changes the device is proved whole against a compile from nothing")
	return err
}
