package store

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"
)

// Head says how far a state file was confirmed.
type Head struct {
	Site       string `json:"site"`
	Generation uint64 `json:"generation"` // of the file: pruning, migrating and restoring write a new one
	Length     int64  `json:"length"`
	Frame      uint64 `json:"frame"`
	FrameHash  string `json:"frameHash"`
	Entries    uint64 `json:"auditEntries"`
	AuditHash  string `json:"auditHash"`
}

// The head has two slots, each in a disk sector of its own, written in turn: a
// torn write spoils one and leaves the other.
const headSlot = 4096

// storage is what the store asks of an open file; tests put failures behind it.
type storage interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
	Truncate(int64) error
	Close() error
}

func encodeHead(h Head) ([]byte, error) {
	b, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	line := fmt.Sprintf("%08x %s", crc32.Checksum(b, castagnoli), b)
	if len(line) >= headSlot {
		return nil, fmt.Errorf("the head of site %q is too long", h.Site)
	}
	return []byte(line + strings.Repeat(" ", headSlot-1-len(line)) + "\n"), nil
}

func decodeHead(b []byte) (Head, bool) {
	var h Head
	b = bytes.TrimRight(b, " \n\x00")
	if len(b) < 10 || b[8] != ' ' || fmt.Sprintf("%08x", crc32.Checksum(b[9:], castagnoli)) != string(b[:8]) || json.Unmarshal(b[9:], &h) != nil {
		return Head{}, false
	}
	for _, s := range []string{h.FrameHash, h.AuditHash} {
		if x, err := hex.DecodeString(s); err != nil || len(x) != len(sum{}) {
			return Head{}, false
		}
	}
	return h, true
}

// readHead gives the newer of the two slots, and the slot to write next.
// found is false where there is no file; a file with no readable slot is an error.
func readHead(path string) (h Head, next int, found bool, err error) {
	b, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return Head{}, 0, false, nil
	}
	if err != nil {
		return Head{}, 0, false, err
	}
	for slot := range 2 {
		if len(b) < headSlot*slot {
			break
		}
		x, ok := decodeHead(b[headSlot*slot : min(len(b), headSlot*(slot+1))])
		if ok && (!found || x.after(h)) {
			h, next, found = x, 1-slot, true
		}
	}
	if !found {
		return Head{}, 0, false, &LostError{path, "neither of its two slots can be read"}
	}
	return h, next, true, nil
}

func (h Head) after(o Head) bool {
	if h.Generation != o.Generation {
		return h.Generation > o.Generation
	}
	return h.Frame > o.Frame
}

func writeHead(f storage, slot int, h Head) error {
	b, err := encodeHead(h)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(b, int64(slot)*headSlot); err != nil {
		return err
	}
	return f.Sync()
}
