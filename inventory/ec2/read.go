package ec2

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bulkhead/inventory"
	"bulkhead/pkg/aws/ec2api"
)

// atOnce bounds the parts that are read side by side, and the calls for the tags of
// functions that one part makes side by side.
const (
	atOnce     = 8
	tagsAtOnce = 4
)

// Result is what the read of one part gave.
type Result struct {
	Part   Part
	Report Report // if Err is nil
	Err    error
}

// Read reads all the parts, side by side, and returns them in order of name. A part is
// complete or it has an error; the others go on.
func Read(ctx context.Context, s *Settings) []Result {
	parts := s.Parts()
	worlds := make([]*World, len(parts))
	found := make([][]string, len(parts)) // which of s.VPCs
	out := make([]Result, len(parts))
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i, p := range parts {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			out[i].Part = p
			worlds[i], found[i], out[i].Err = readPart(ctx, s, p)
		})
	}
	wg.Wait()
	missingVPCs(s.VPCs, parts, found, out)
	for i := range out {
		if out[i].Err == nil {
			out[i].Report = worlds[i].Report(s)
		}
	}
	return out
}

// missingVPCs makes errors of VPCs that do not exist: a filter that lets nothing through
// must not pass for a network without machines. A part without any of them is suspected
// first; where each has some, nobody can say in which the one was looked for in vain.
func missingVPCs(vpcs []string, parts []Part, found [][]string, out []Result) {
	nowhere := slices.Clone(vpcs)
	barren := false
	for i := range out {
		if out[i].Err != nil {
			return // it may be there
		}
		nowhere = slices.DeleteFunc(nowhere, func(v string) bool { return slices.Contains(found[i], v) })
		barren = barren || len(found[i]) == 0
	}
	if len(nowhere) == 0 {
		return
	}
	for i := range out {
		if !barren || len(found[i]) == 0 {
			out[i].Err = fmt.Errorf("%s: the source asks for %s, which is neither here nor in any other of its regions and accounts", where(parts[i]), quoted(nowhere))
		}
	}
}

func where(p Part) string {
	if p.Role != "" {
		return fmt.Sprintf("region %q as %s", p.Region, p.Role)
	}
	return fmt.Sprintf("region %q", p.Region)
}

func quoted(list []string) string {
	var out []string
	for _, s := range list {
		out = append(out, fmt.Sprintf("%q", s))
	}
	return strings.Join(out, ", ")
}

func readPart(ctx context.Context, s *Settings, p Part) (w *World, vpcs []string, err error) {
	limit := cmp.Or(s.Timeout, DefaultTimeout)
	ctx, stop := context.WithTimeout(ctx, limit)
	defer stop()
	c, err := ec2api.Open(ctx, ec2api.Options{Region: p.Region, Role: p.Role, ExternalID: s.ExternalID, Profile: s.Profile, Endpoint: s.Endpoint, HTTP: s.HTTP, MaxBackoff: s.MaxBackoff})
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	w, vpcs, err = readWorld(ctx, c, s)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w (it may take %s, see timeout)", err, limit.Round(time.Second))
	}
	return w, vpcs, err
}

// readWorld reads what a part holds, and which of the VPCs that are asked for it has.
func readWorld(ctx context.Context, c *ec2api.Client, s *Settings) (*World, []string, error) {
	w := &World{Region: c.Region()}
	var vpcs []string
	if len(s.VPCs) > 0 {
		list, err := c.VPCs(ctx, s.VPCs...)
		if err != nil {
			return nil, nil, err
		}
		for i := range list {
			vpcs = append(vpcs, list[i].ID)
		}
		if len(vpcs) == 0 {
			return w, nil, nil // without a filter the reads below would be of everything
		}
	}
	var err error
	if w.Interfaces, err = c.Interfaces(ctx, vpcs...); err != nil {
		return nil, nil, err
	}
	if w.Instances, err = c.Instances(ctx, vpcs...); err != nil {
		return nil, nil, err
	}
	if s.ImageNames {
		if w.Images, err = c.Images(ctx, imagesOf(w.Instances)...); err != nil {
			return nil, nil, err
		}
	}
	if s.Functions != FunctionsOff {
		if err := w.readFunctions(ctx, c, vpcs); err != nil {
			return nil, nil, fmt.Errorf("%w; or say %q in the source's settings", err, "functions: off")
		}
	}
	return w, vpcs, nil
}

// readFunctions reads the functions and the tags of each. A function that is deleted
// between the two is gone.
func (w *World) readFunctions(ctx context.Context, c *ec2api.Client, vpcs []string) error {
	list, err := c.Functions(ctx, vpcs...)
	if err != nil {
		return err
	}
	there := make([]bool, len(list))
	err = side(len(list), tagsAtOnce, func(i int) (err error) {
		list[i].Tags, err = c.FunctionTags(ctx, list[i].ARN)
		if there[i] = err == nil; ec2api.KindOf(err) == ec2api.NotFound {
			return nil
		}
		return err
	})
	for i := range list {
		if there[i] {
			w.Functions = append(w.Functions, list[i])
		}
	}
	return err
}

// side does n things, some at once, until one fails: of all that did, the error of the
// first is returned.
func side(n, atOnce int, do func(i int) error) error {
	errs := make([]error, n)
	var next atomic.Int64
	var failed atomic.Bool
	var wg sync.WaitGroup
	for range min(n, atOnce) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && !failed.Load(); i = int(next.Add(1)) - 1 {
				if errs[i] = do(i); errs[i] != nil {
					failed.Store(true)
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Heard gives a result as what was heard of a part of a source.
func (r *Result) Heard(source string, trust inventory.Trust, staleAfter time.Duration, at string) inventory.Heard {
	h := inventory.Heard{Source: source + "/" + r.Part.Name, Of: source, Trust: trust, StaleAfter: staleAfter, Where: at, Err: r.Err}
	if r.Err == nil {
		h.Report = inventory.Report{Source: source, Trust: trust, Assets: r.Report.Assets, Conflicts: r.Report.Conflicts}
	}
	return h
}
