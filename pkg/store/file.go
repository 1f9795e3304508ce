package store

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Schema is the version of the records that this program writes.
const Schema = 2

// header is the first line of a state file. Previous is the hash of the last
// confirmed frame of the file that this one replaced: a crash between the rename
// and the writing of the head is told from a file that somebody put there.
type header struct {
	Schema     int    `json:"schema"`
	Site       string `json:"site"`
	Generation uint64 `json:"generation"`
	Previous   string `json:"previous,omitempty"`
}

const (
	headerMagic = "bulkhead-state "
	maxHeader   = 4096
)

func encodeHeader(h header) ([]byte, error) {
	b, err := json.Marshal(h)
	if err != nil || len(b) > maxHeader-64 {
		return nil, fmt.Errorf("the header of site %q cannot be written: %w", h.Site, err)
	}
	return append(append([]byte(headerMagic), b...), '\n'), nil
}

// decodeHeader accepts only what encodeHeader writes, byte for byte.
func decodeHeader(line []byte) (h header, err error) {
	body, ok := bytes.CutPrefix(line, []byte(headerMagic))
	if !ok {
		return h, errors.New("not a state file of bulkhead")
	}
	if err := json.Unmarshal(body, &h); err != nil {
		return h, errors.New("the header cannot be read")
	}
	if h.Schema < 1 || checkSite(h.Site) != nil {
		return h, errors.New("the header names no schema and site")
	}
	return h, nil
}

var siteName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

func checkSite(site string) error {
	if !siteName.MatchString(site) {
		return fmt.Errorf("site name %q cannot name a file; use letters, digits, dots, dashes", site)
	}
	return nil
}

// loc is where a value lies. Its checksum finds a disk that gives other bytes
// later than it gave when the file was opened.
type loc struct {
	off int64
	n   uint32
	crc uint32
}

// image is what a state file says, without the values.
type image struct {
	header
	index map[byte]map[string]loc
	// entries is where those of the audit log lie, by their number less one. Nothing of it
	// is ever pruned, so that it must cost little: 16 bytes for each.
	entries  []loc
	open     map[string]bool // applies that are running
	end      int64           // behind the last whole frame
	seq      uint64
	last     sum
	auditSeq uint64
	auditSum sum
	bad      error // why what lies behind end is no frame; nil at the end of the file
	headSum  sum   // of frame number headSeq, if it was met
}

func newImage(h header, line []byte) *image {
	return &image{header: h, index: map[byte]map[string]loc{}, open: map[string]bool{}, end: int64(len(line)), last: sha256.Sum256(line)}
}

// add takes a frame that lies at m.end into the index.
func (m *image) add(ops []op, payload int64, last sum) error {
	at := m.end + frameHeader
	for _, o := range ops {
		l := loc{at + int64(o.at), uint32(len(o.value)), crc32.Checksum(o.value, castagnoli)}
		switch {
		case o.bucket == bucketAudit:
			if err := m.addEntry(o, l); err != nil {
				return err
			}
		case o.remove:
			delete(m.index[o.bucket], o.key)
			delete(m.open, o.key)
		default:
			if m.index[o.bucket] == nil {
				m.index[o.bucket] = map[string]loc{}
			}
			m.index[o.bucket][o.key] = l
			if o.bucket == bucketApply {
				m.noteOpen(o)
			}
		}
	}
	m.end, m.seq, m.last = at+payload, m.seq+1, last
	return nil
}

// addEntry takes an entry of the audit log into the index. They are numbered without a
// gap; one that is numbered otherwise was written by nobody of ours.
func (m *image) addEntry(o op, l loc) error {
	n, err := strconv.ParseUint(o.key, 16, 64)
	switch {
	case err != nil || n == 0 || n > uint64(len(m.entries))+1 || o.key != auditKey(n):
		return fmt.Errorf("an audit entry has the number %q, and there are %d", o.key, len(m.entries))
	case o.remove:
		if n <= uint64(len(m.entries)) {
			m.entries[n-1] = loc{}
		}
		return nil
	}
	e, s, err := decodeEntry(o.value)
	if err != nil {
		return err
	}
	if n > uint64(len(m.entries)) {
		m.entries = append(m.entries, l)
	} else {
		m.entries[n-1] = l
	}
	if e.Seq > m.auditSeq {
		m.auditSeq, m.auditSum = e.Seq, s
	}
	return nil
}

// noteOpen knows the applies that are running without reading all: whoever repairs a
// device asks for them first.
func (m *image) noteOpen(o op) {
	var a struct {
		State State `json:"state"`
	}
	if err := json.Unmarshal(o.value, &a); err != nil || a.State == Running { // what cannot be read is looked at
		m.open[o.key] = true
		return
	}
	delete(m.open, o.key)
}

// find gives where a value lies.
func (m *image) find(bucket byte, key string) (loc, bool) {
	if bucket != bucketAudit {
		l, ok := m.index[bucket][key]
		return l, ok
	}
	n, err := strconv.ParseUint(key, 16, 64)
	if err != nil || n == 0 || n > uint64(len(m.entries)) {
		return loc{}, false
	}
	l := m.entries[n-1]
	return l, l.n > 0
}

// scan reads a whole state file. Only a header that cannot be read is an error;
// where the frames end is in the image.
func scan(r io.Reader, size int64, path string, headSeq uint64) (*image, error) {
	br := bufio.NewReaderSize(r, 1<<16)
	line, err := br.ReadSlice('\n')
	if err != nil || len(line) > maxHeader {
		return nil, &CorruptError{path, 0, "it has no header line"}
	}
	h, err := decodeHeader(line)
	if err != nil {
		return nil, &CorruptError{path, 0, err.Error()}
	}
	if h.Schema > Schema {
		return nil, &VersionError{path, h.Schema, Schema}
	}
	m := newImage(h, line)
	for m.end < size {
		payload, s, err := readFrame(br, size-m.end, m.seq+1, m.last)
		if err == nil {
			var ops []op
			if ops, err = decodeOps(payload); err == nil {
				err = m.add(ops, int64(len(payload)), s)
			}
		}
		if err != nil {
			m.bad = err
			break
		}
		if m.seq == headSeq {
			m.headSum = s
		}
	}
	return m, nil
}

func scanFile(f *os.File, path string, headSeq uint64) (*image, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return scan(io.NewSectionReader(f, 0, info.Size()), info.Size(), path, headSeq)
}

func (m *image) value(r io.ReaderAt, bucket byte, key string) ([]byte, error) {
	l, ok := m.find(bucket, key)
	if !ok {
		return nil, ErrNotFound
	}
	b := make([]byte, l.n)
	if _, err := r.ReadAt(b, l.off); err != nil {
		return nil, fmt.Errorf("cannot read the state: %w", err)
	}
	if crc32.Checksum(b, castagnoli) != l.crc {
		return nil, &CorruptError{"the state file", l.off, "a value is not what was read when it was opened"}
	}
	return b, nil
}

func (m *image) keys(bucket byte) []string {
	if bucket == bucketAudit {
		keys := make([]string, 0, len(m.entries))
		for i := range m.entries {
			if m.entries[i].n > 0 {
				keys = append(keys, auditKey(uint64(i)+1))
			}
		}
		return keys
	}
	keys := make([]string, 0, len(m.index[bucket]))
	for k := range m.index[bucket] {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (m *image) head() Head {
	return Head{m.Site, m.Generation, m.end, m.seq, hex.EncodeToString(m.last[:]), m.auditSeq, hex.EncodeToString(m.auditSum[:])}
}

// check compares an image with the head that is kept beside it.
func (m *image) check(path string, size int64, h Head, found bool) error {
	switch {
	case !found && m.seq == 1 && m.auditSeq == 0 && m.Generation == 1:
		return nil // the crash came between the making of the file and of its head
	case !found:
		return &LostError{path, "the head file is not there"}
	case h.Site != m.Site:
		return &LostError{path, fmt.Sprintf("the head is of site %q", h.Site)}
	case m.Generation == h.Generation+1 && m.Previous == h.FrameHash:
		if m.bad != nil { // it was synced before it got its name
			return &CorruptError{path, m.end, m.bad.Error()}
		}
		return nil // the crash came between the rename and the head
	case m.Generation != h.Generation:
		return &LostError{path, fmt.Sprintf("the file is of generation %d, the head of %d", m.Generation, h.Generation)}
	case m.end < h.Length && m.bad != nil && size >= h.Length:
		return &CorruptError{path, m.end, m.bad.Error()}
	case m.end < h.Length:
		return &LostError{path, fmt.Sprintf("it is whole to byte %d (audit entry %d), and was confirmed to byte %d (audit entry %d)", m.end, m.auditSeq, h.Length, h.Entries)}
	case hex.EncodeToString(m.headSum[:]) != h.FrameHash:
		return &LostError{path, fmt.Sprintf("frame %d is not the one that was confirmed", h.Frame)}
	}
	return nil
}

// writeImage makes a state file under a name that nothing looks for, syncs it,
// and gives it its name. each calls put for every value, in the order to store.
func writeImage(path string, h header, each func(put func(op) error) error) (*image, error) {
	line, err := encodeHeader(h)
	if err != nil {
		return nil, err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return nil, full(err)
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if _, err := tmp.Write(line); err != nil {
		return nil, full(err)
	}
	m := newImage(h, line)
	var batch []op
	size := 0
	flush := func() error {
		payload := encodeOps(batch)
		b, s, err := encodeFrame(m.seq+1, m.last, payload)
		if err != nil {
			return err
		}
		if _, err := tmp.Write(b); err != nil {
			return full(err)
		}
		err = m.add(batch, int64(len(payload)), s)
		batch, size = nil, 0
		return err
	}
	put := func(o op) error {
		batch, size = append(batch, o), size+len(o.value)
		if size > 4<<20 {
			return flush()
		}
		return nil
	}
	if err := each(put); err != nil {
		return nil, err
	}
	if err := errors.Join(flush(), full(tmp.Sync())); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return nil, full(err)
	}
	return m, syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// stamp is a time as it stands in file names and IDs.
const stamp = "20060102-150405"

func paths(dir, site string) (db, head, lock string) {
	base := filepath.Join(dir, site)
	return base + ".db", base + ".head", base + ".lock"
}

func trimDB(path string) string { return strings.TrimSuffix(path, ".db") }
