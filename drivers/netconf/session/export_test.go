package session

import "time"

// WithTimes gives options the rest after the hello, and the time for the first answer.
func WithTimes(o Options, settle, first time.Duration) Options {
	o.Rest, o.first = settle, first
	return o
}
