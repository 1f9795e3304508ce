package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// childVar tells a process which measurement it is to take.
const childVar = "BULKHEAD_BENCH_MEASURE"

// IsChild reports whether this process was started to take one measurement.
func IsChild() bool { return os.Getenv(childVar) != "" }

// Child takes the measurement that this process was started for, and writes the
// sample. The only errors are those of writing: a measurement that fails is a sample
// that says so.
func Child(ctx context.Context, rows []Row, w io.Writer) error {
	row, variant, _ := strings.Cut(os.Getenv(childVar), "/")
	s, err := measure(ctx, rows, row, variant)
	if err != nil {
		s.Failed = append(s.Failed, err.Error())
	}
	if err := json.NewEncoder(w).Encode(s); err != nil {
		return fmt.Errorf("write the sample: %w", err)
	}
	return nil
}

func measure(ctx context.Context, rows []Row, row, variant string) (Sample, error) {
	for i := range rows {
		if rows[i].Name != row {
			continue
		}
		for _, v := range rows[i].Variants {
			if v.Name != variant {
				continue
			}
			if v.Run == nil {
				return Sample{}, errors.New(v.NotBuilt)
			}
			r, err := newRecorder()
			if err != nil {
				return Sample{}, err
			}
			err = v.Run(ctx, r)
			return r.finish(err), os.RemoveAll(r.Dir)
		}
	}
	return Sample{}, fmt.Errorf("there is no measurement %q of row %q", variant, row)
}

// childEnv is the environment of a measurement: without what tunes the Go runtime,
// so that memory and collections are those that everybody gets.
func childEnv(env []string, row, variant string) []string {
	out := slices.DeleteFunc(slices.Clone(env), func(s string) bool {
		name, _, _ := strings.Cut(s, "=")
		return slices.Contains([]string{"GOMEMLIMIT", "GOGC", "GODEBUG", "GOMAXPROCS", "GOTRACEBACK", childVar}, name)
	})
	return append(out, childVar+"="+row+"/"+variant)
}
