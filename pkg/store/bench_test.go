package store

import (
	"bytes"
	"fmt"
	"testing"
)

// BenchmarkAppend is one audit entry, synced with its head.
func BenchmarkAppend(b *testing.B) {
	s, err := Open(b.TempDir(), "plant", nil)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for b.Loop() {
		if _, err := s.AppendAudit(Entry{Who: "eva", Action: "apply", Object: "gw"}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSnapshot is an inventory of 100,000 assets, which is new each time.
func BenchmarkSnapshot(b *testing.B) {
	var w bytes.Buffer
	for i := range 100_000 {
		fmt.Fprintf(&w, `{"id":"asset-%d","kind":"server","addresses":["10.%d.%d.%d"],"macs":["00:1b:1b:%02x:%02x:%02x"],"labels":{"role":"r%d","site":"s%d"},"sources":{"ec2":"2026-03-01T08:00:00Z"}}`+"\n",
			i, i>>16, i>>8&255, i&255, i*7&255, i*31>>4&255, i*17>>8&255, i%97, i%13)
	}
	s, err := Open(b.TempDir(), "plant", nil)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	n := 0
	for b.Loop() {
		n++
		if _, err := s.PutSnapshot(fmt.Appendf(w.Bytes(), "%d", n)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(w.Len()), "bytes")
	b.ReportMetric(float64(s.m.end)/float64(n), "stored-bytes")
}
