package decode

import (
	"os"
	"runtime/pprof"
	"testing"
	"time"
)

func TestSmoke(t *testing.T) {
	l := newLoader(t)
	rs := l.load(smallLayout().text())
	res := Analyze(rs, testOptions())
	for _, f := range res.Decoded.Findings {
		t.Logf("%+v", f)
	}
	t.Logf("%x", res.Marks)
	for _, r := range res.Decoded.Relations {
		t.Logf("%+v %d %d", r.Situation, len(r.Src), len(r.Dst))
		for i := range r.Src {
			for j := range r.Dst {
				if s := r.Permit(i, j); !s.IsEmpty() {
					t.Log(r.Src[i], r.Dst[j], s, r.Why(r.Src[i].First(), r.Dst[j].First(), s[0].Lo))
				}
			}
		}
	}
}

func TestBigSmoke(t *testing.T) {
	l := newLoader(t)
	rs := l.load(bigLayout(300, 400, 50).text())
	f, _ := os.Create("/tmp/decode.prof")
	pprof.StartCPUProfile(f)
	start := time.Now()
	res := Analyze(rs, testOptions())
	t.Log(time.Since(start))
	pprof.StopCPUProfile()
	for _, f := range res.Decoded.Findings {
		t.Logf("%+v", f)
	}
	for _, r := range res.Decoded.Relations {
		start := time.Now()
		n := 0
		for i := range r.Src {
			for j := range r.Dst {
				n += len(r.Permit(i, j))
			}
		}
		t.Logf("%+v %d %d %d %s", r.Situation, len(r.Src), len(r.Dst), n, time.Since(start))
	}
}
