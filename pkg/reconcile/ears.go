package reconcile

import (
	"cmp"
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"time"

	"bulkhead/inventory"
	"bulkhead/pkg/config"
)

// How long who wants to hear a source waits for one that was not heard yet, and how often
// one is asked at most unless its settings say so.
const (
	earPatience  = 5 * time.Second
	defaultEvery = time.Minute
)

// Ears hear sources that take their time (an AWS account, over a network that may be
// down) beside whoever needs to know: a daemon must not stand still for minutes, nor ask
// anew whenever a neighbour is plugged in. Asked for what a source says, they give what it
// said last, and ask again if that was a while ago.
//
// What was said last may be that it failed; what stands in for it then is for
// inventory.Stand to say, as ever.
type Ears struct {
	now      func() time.Time
	news     func(source string)
	patience time.Duration

	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu   sync.Mutex
	by   map[string]*ear
	open bool // everything was heard once: from now on nobody waits for long
}

type ear struct {
	src   config.Source
	heard []inventory.Heard // nil: nothing yet
	at    time.Time         // when that was
	done  chan struct{}     // of the read under way; nil: there is none
}

// NewEars makes ears. news is told, from a goroutine of theirs, that a source says
// something else than before.
func NewEars(now func() time.Time, news func(source string)) *Ears {
	e := &Ears{now: now, news: news, patience: earPatience, by: map[string]*ear{}}
	e.ctx, e.stop = context.WithCancel(context.Background())
	return e
}

// Close ends what is under way and waits for it.
func (e *Ears) Close() {
	e.stop()
	e.wg.Wait()
}

// hear gives what a source said last. The first time it waits until the source has said
// something: there has to be a complete first inventory.
func (e *Ears) hear(ctx context.Context, src *config.Source) []inventory.Heard {
	e.mu.Lock()
	x := e.by[src.Name]
	if x == nil || !reflect.DeepEqual(x.src, *src) {
		x = &ear{src: *src}
		e.by[src.Name] = x // who asks for the one before tells nobody
	}
	every := cmp.Or(src.Duration("every"), defaultEvery)
	if x.done == nil && (x.heard == nil || e.now().Sub(x.at) >= every) {
		x.done = make(chan struct{})
		e.wg.Go(func() { e.ask(x) })
	}
	done, heard, open := x.done, x.heard, e.open
	e.mu.Unlock()
	if heard != nil {
		return heard
	}
	wait, stop := ctx, context.CancelFunc(func() {})
	if open {
		wait, stop = context.WithTimeout(ctx, e.patience)
	}
	defer stop()
	select {
	case <-done:
	case <-wait.Done():
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if x.heard == nil {
		return unheard(src)
	}
	return x.heard
}

// ask asks a source, and tells if it says something else.
func (e *Ears) ask(x *ear) {
	heard := hearOne(e.ctx, &x.src)
	e.mu.Lock()
	at := e.now()
	for i := range heard {
		heard[i].At = at
	}
	news := e.by[x.src.Name] == x && !slices.EqualFunc(heard, x.heard, sameHeard) && e.ctx.Err() == nil
	x.heard, x.at = heard, at
	close(x.done)
	x.done = nil
	e.mu.Unlock()
	if news {
		e.news(x.src.Name)
	}
}

// opened says that everything was heard once.
func (e *Ears) opened() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.open = true
}

// sameHeard compares what was heard, whenever that was.
func sameHeard(a, b inventory.Heard) bool {
	return a.Source == b.Source && errorText(a.Err) == errorText(b.Err) && reflect.DeepEqual(a.Report, b.Report)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// errUnheard is why nothing is to be had of a source yet.
var errUnheard = errors.New("it was asked with these settings, and has not answered yet")

// unheard is a source, in all its parts, that has not said anything yet.
func unheard(src *config.Source) []inventory.Heard {
	if src.Type == config.SourceEC2 {
		return unheardEC2(src)
	}
	return []inventory.Heard{heard(src, inventory.Report{}, errUnheard)}
}
