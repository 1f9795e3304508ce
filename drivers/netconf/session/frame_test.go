package session

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
)

// pieces is a reader that returns what was written in other pieces.
type pieces struct {
	data []byte
	cut  func() int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), max(1, p.cut()))], p.data)
	p.data = p.data[n:]
	return n, nil
}

// chunks cuts a message into chunks, as a server may.
func chunks(t *rapid.T, msg []byte) []byte {
	var b bytes.Buffer
	for len(msg) > 0 {
		n := rapid.IntRange(1, len(msg)).Draw(t, "chunk")
		fmt.Fprintf(&b, "\n#%d\n%s", n, msg[:n])
		msg = msg[n:]
	}
	b.WriteString("\n##\n")
	return b.Bytes()
}

// However a server cuts messages into chunks, and the network those into pieces, the same
// messages come out: also if their text looks like the framing.
func TestFramesOfAnySplit(t *testing.T) {
	tries.Check(t, func(t *rapid.T) {
		part := rapid.SampledFrom([]string{"a", "\n", "#", "##", "\n##\n", "\n#1\n", "]", ">", "]]", "]]>", "]]>]]", "<x/>", "\r", "é"})
		chunked := rapid.Bool().Draw(t, "chunked")
		var stream, sent bytes.Buffer
		out := newFramer(nil, &sent, 1<<20)
		out.chunked = chunked
		var want [][]byte
		for range rapid.IntRange(1, 4).Draw(t, "messages") {
			msg := []byte(strings.Join(rapid.SliceOfN(part, 1, 20).Draw(t, "parts"), ""))
			if err := out.writable(msg); err != nil || !chunked && bytes.Contains(append(bytes.Clone(msg), endOfMessage[:5]...), []byte(endOfMessage)) {
				continue // its end cannot be told
			}
			if err := out.write(msg); err != nil {
				t.Fatal(err)
			}
			if chunked {
				stream.Write(chunks(t, msg))
			} else {
				stream.WriteString(string(msg) + endOfMessage)
			}
			want = append(want, msg)
		}
		for _, s := range [][]byte{stream.Bytes(), sent.Bytes()} {
			in := newFramer(&pieces{s, func() int { return rapid.IntRange(1, 9).Draw(t, "piece") }}, nil, 1<<20)
			in.chunked = chunked
			for i, w := range want {
				got, err := in.read()
				if err != nil || !bytes.Equal(got, w) {
					t.Fatalf("message %d: %q, %v; want %q", i, got, err, w)
				}
			}
			if got, err := in.read(); !errors.Is(err, io.EOF) {
				t.Fatalf("after the last: %q, %v", got, err)
			}
		}
	})
}

// A stream that ends within a message is no message.
func TestFramesCutShort(t *testing.T) {
	for _, c := range []struct {
		chunked bool
		stream  string
	}{{true, "\n#3\nabc\n#2\nde\n##\n"}, {false, "abc]]>]]>"}} {
		for n := range c.stream {
			f := newFramer(iotest.OneByteReader(strings.NewReader(c.stream[:n])), nil, 1<<20)
			f.chunked = c.chunked
			got, err := f.read()
			blank := strings.TrimSpace(c.stream[:n]) == ""
			if err == nil || errors.Is(err, io.ErrUnexpectedEOF) == blank {
				t.Errorf("%q: %q, %v", c.stream[:n], got, err)
			}
		}
	}
}

// What is not the framing, and what is too large, is an error, and not a message.
func TestFramesRefused(t *testing.T) {
	for _, stream := range []string{
		"<x/>", "\n#0\n", "\n#01\na\n##\n", "\n#-1\na\n##\n", "\n#+1\na\n##\n", "\n# 1\na\n##\n", "\n#4294967296\n", "\n#99999999999\n", "\n##\n", "\n#\n", "\n###\n",
		"\n#1\na#1\nb\n##\n", "\n#1\na\n\n#1\nb\n##\n", "\n#1a\na\n##\n", "\n#101\n" + strings.Repeat("x", 101) + "\n##\n",
		"\n#99\n" + strings.Repeat("x", 99) + "\n#2\nxx\n##\n", "\n#4294967295\n",
	} {
		f := newFramer(strings.NewReader(stream), nil, 100)
		f.chunked = true
		if got, err := f.read(); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%q: %q, %v", stream, got, err)
		}
	}
	f := newFramer(strings.NewReader(strings.Repeat("x", 200)+endOfMessage), nil, 100)
	if got, err := f.read(); err == nil {
		t.Errorf("too large: %q", got)
	}
	// Of an endless one no more is kept than is allowed.
	f = newFramer(iotest.DataErrReader(neverEnds{}), nil, 1<<20)
	if got, err := f.read(); err == nil {
		t.Errorf("endless: %d bytes", len(got))
	}
}

type neverEnds struct{}

func (neverEnds) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte("\n#3\nabc\n#2\nde\n##\n\n#1\nx\n##\n"), true)
	f.Add([]byte("abc]]>]]>]]>]]>"), false)
	f.Add([]byte("\r\n\n#4294967295\n"), true)
	f.Fuzz(func(t *testing.T, stream []byte, chunked bool) {
		read := func(r io.Reader) (out [][]byte, err error) {
			in := newFramer(r, nil, 1000)
			in.chunked = chunked
			for {
				msg, err := in.read()
				if err != nil {
					return out, err
				}
				if len(msg) > 1000 || len(msg) > len(stream) {
					t.Fatalf("a message of %d bytes", len(msg))
				}
				out = append(out, msg)
			}
		}
		a, errA := read(bytes.NewReader(stream))
		b, errB := read(iotest.OneByteReader(bytes.NewReader(stream)))
		if fmt.Sprintf("%q", a) != fmt.Sprintf("%q", b) || errA.Error() != errB.Error() {
			t.Fatalf("by pieces it is %q (%v), as a whole %q (%v)", b, errB, a, errA)
		}
		// What was read can be sent, and is read as the same.
		for _, msg := range a {
			var sent bytes.Buffer
			out := newFramer(&sent, &sent, 1000)
			out.chunked = chunked
			if err := out.write(msg); err != nil {
				t.Fatalf("%q cannot be sent: %v", msg, err)
			}
			if got, err := out.read(); err != nil || !bytes.Equal(got, msg) && chunked {
				t.Fatalf("%q is read as %q, %v", msg, got, err)
			}
		}
	})
}
