package awstest

import (
	"strings"
	"time"
)

// Limit is a token bucket: so many calls at once, and so many more per second.
type Limit struct{ Burst, PerSecond float64 }

// limitOf gives the bucket of an action by the table of AWS's developer guide, "Request
// throttling for the Amazon EC2 API". wide is a describe of everything in one answer.
func limitOf(service, action string, wide bool) Limit {
	switch {
	case service == "lambda": // all calls of the control plane but a few: 15 per second
		return Limit{15, 15}
	case service == "sts":
		return Limit{100, 100}
	case strings.HasPrefix(action, "DescribeSecurityGroupReferences"), strings.HasPrefix(action, "DescribeStale"):
		return Limit{20, 5}
	case strings.HasPrefix(action, "Describe"), strings.HasPrefix(action, "Get"):
		if wide && (action == "DescribeInstances" || action == "DescribeNetworkInterfaces" || action == "DescribeSecurityGroups") {
			return Limit{50, 10}
		}
		return Limit{100, 20}
	case action == "ModifyNetworkInterfaceAttribute":
		return Limit{100, 5}
	case action == "CreateTags", action == "DeleteTags":
		return Limit{100, 10}
	}
	return Limit{50, 5}
}

// buckets are kept for each account, region and action.
type buckets struct {
	off    bool
	limits map[string]Limit // by action, in place of AWS's
	of     map[string]*bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

func (b *buckets) init() { *b = buckets{limits: map[string]Limit{}, of: map[string]*bucket{}} }

// take takes a token; it reports false if there is none.
func (b *buckets) take(key, action string, l Limit, now time.Time) bool {
	if b.off {
		return true
	}
	if own, ok := b.limits[action]; ok {
		l = own
	}
	k := b.of[key]
	if k == nil {
		k = &bucket{tokens: l.Burst, at: now}
		b.of[key] = k
	}
	if d := now.Sub(k.at); d > 0 {
		k.tokens = min(l.Burst, k.tokens+d.Seconds()*l.PerSecond)
		k.at = now
	}
	if k.tokens < 1 {
		return false
	}
	k.tokens--
	return true
}

// Unthrottled lets everybody call as often as they like, for tests that are about
// something else.
func (w *World) Unthrottled() {
	defer w.lock()()
	w.buckets.off = true
}

// SetLimit sets the bucket of an action in place of AWS's, full.
func (w *World) SetLimit(action string, l Limit) {
	defer w.lock()()
	w.buckets.limits[action] = l
	clear(w.buckets.of)
}
