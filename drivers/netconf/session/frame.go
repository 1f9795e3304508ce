package session

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// endOfMessage ends every message of base:1.0, and the hello of any version.
const endOfMessage = "]]>]]>"

// maxChunkDigits is how long a chunk's size may be: 4294967295 is the largest (RFC 6242
// section 4.2).
const maxChunkDigits = 10

// framer reads and writes messages on a byte stream. It begins with the framing of
// base:1.0, which hellos have; chunked is set once both sides know base:1.1.
type framer struct {
	r       *bufio.Reader
	w       io.Writer
	chunked bool
	max     int // bytes of a message
}

func newFramer(r io.Reader, w io.Writer, max int) *framer {
	return &framer{r: bufio.NewReaderSize(r, 64<<10), w: w, max: max}
}

// writable reports what cannot be sent: nothing in chunks, and in the framing of base:1.0
// what contains its mark, since the rest would be taken for another message.
func (f *framer) writable(msg []byte) error {
	switch {
	case f.chunked && (len(msg) == 0 || len(msg) > 4294967295):
		return fmt.Errorf("a message of %d bytes cannot be sent in a chunk", len(msg))
	case !f.chunked && bytes.Contains(msg, []byte(endOfMessage)):
		return fmt.Errorf("a message that contains %q cannot be sent in the framing of base:1.0", endOfMessage)
	}
	return nil
}

// write sends one message.
func (f *framer) write(msg []byte) error {
	if err := f.writable(msg); err != nil {
		return err
	}
	var b bytes.Buffer
	if f.chunked {
		b.Grow(len(msg) + 32)
		b.WriteString("\n#" + strconv.Itoa(len(msg)) + "\n")
		b.Write(msg)
		b.WriteString("\n##\n")
	} else {
		b.Grow(len(msg) + len(endOfMessage))
		b.Write(msg)
		b.WriteString(endOfMessage)
	}
	_, err := f.w.Write(b.Bytes())
	return err
}

// read returns the next message. The end of the stream is io.EOF between two messages
// and io.ErrUnexpectedEOF within one: half a message is never one.
func (f *framer) read() ([]byte, error) {
	if f.chunked {
		return f.readChunks()
	}
	return f.readDelimited()
}

func (f *framer) tooLarge() error {
	return fmt.Errorf("the server sent a message of more than %d bytes", f.max)
}

func (f *framer) readDelimited() ([]byte, error) {
	var msg []byte
	last := byte(endOfMessage[len(endOfMessage)-1])
	for {
		part, err := f.r.ReadSlice(last)
		msg = append(msg, part...)
		if bytes.HasSuffix(msg, []byte(endOfMessage)) {
			msg = msg[:len(msg)-len(endOfMessage)]
			if len(msg) > f.max {
				return nil, f.tooLarge()
			}
			return msg, nil
		}
		if len(msg) > f.max+len(endOfMessage) {
			return nil, f.tooLarge()
		}
		switch {
		case err == nil || errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(bytes.TrimSpace(msg)) > 0:
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, err
		}
	}
}

// readChunks reads chunks up to the mark of the last one (RFC 6242 section 4.2).
func (f *framer) readChunks() ([]byte, error) {
	var msg []byte
	for first := true; ; first = false {
		size, err := f.readHeader(first)
		if err != nil {
			if errors.Is(err, io.EOF) && !first {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if size == 0 { // the mark
			if first {
				return nil, errors.New("the server sent an end of chunks without a chunk")
			}
			return msg, nil
		}
		if size > int64(f.max-len(msg)) {
			return nil, f.tooLarge()
		}
		// The size is the server's word only: memory grows with what really comes.
		var b bytes.Buffer
		if _, err := io.CopyN(&b, f.r, size); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		msg = append(msg, b.Bytes()...)
	}
}

// readHeader reads LF "#" and a size LF, or "#" LF for the end, which is 0. Before the
// first chunk of a message more line ends are passed over: some servers end the hello
// with one.
func (f *framer) readHeader(first bool) (int64, error) {
	begun := false
	for {
		c, err := f.r.ReadByte()
		if err != nil {
			if !first && begun {
				err = noEnd(err)
			}
			return 0, err
		}
		if c == '\n' && (first || !begun) || c == '\r' && first {
			begun = true
			continue
		}
		if c != '#' || !begun {
			return 0, fmt.Errorf("the server sent %q where a chunk has to begin", c)
		}
		break
	}
	var digits []byte
	for {
		c, err := f.r.ReadByte()
		if err != nil {
			return 0, noEnd(err)
		}
		switch {
		case c == '\n' && string(digits) == "#":
			return 0, nil
		case c == '\n' && len(digits) > 0:
			n, err := strconv.ParseInt(string(digits), 10, 64)
			if err != nil || n > 4294967295 {
				return 0, fmt.Errorf("the server sent a chunk of %q bytes", digits)
			}
			return n, nil
		case c == '#' && len(digits) == 0, c >= '1' && c <= '9', c == '0' && len(digits) > 0:
			if string(digits) == "#" || len(digits) == maxChunkDigits {
				return 0, fmt.Errorf("the server sent a chunk of \"%s%c...\" bytes", digits, c)
			}
			digits = append(digits, c)
		default:
			return 0, fmt.Errorf("the server sent %q in the size of a chunk", c)
		}
	}
}

func noEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
