package kernel

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// batchEdge bounds the messages that begin and end a batch, in bytes.
const batchEdge = nlmsgHdrLen + nfgenLen + 8

// BatchError is the first error that the kernel gave to a batch. Nothing of the
// batch was done.
type BatchError struct {
	Errno     unix.Errno
	Operation string // "add 12 elements to set x of table inet t"; "" where it concerns the batch as a whole
	Key       []byte // key of the element that failed, where the kernel points at one
	Kernel    string // the kernel's own words, or ""
	Hint      string
	sentinel  error
}

func (e *BatchError) Error() string {
	s := "the kernel refused the batch"
	if e.Operation != "" {
		s += " at: " + e.Operation
	}
	if len(e.Key) > 0 {
		s += " (element 0x" + hex.EncodeToString(e.Key) + ")"
	}
	s += ": " + e.Errno.Error()
	if e.Kernel != "" {
		s += " (the kernel says: " + e.Kernel + ")"
	}
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	return s
}

// Unwrap gives the errno and the sentinel of this package, if there is one.
func (e *BatchError) Unwrap() []error {
	if e.sentinel == nil {
		return []error{e.Errno}
	}
	return []error{e.Errno, e.sentinel}
}

// Commit makes the kernel do the batch, all of it or nothing. With genID not 0
// it is refused (ErrGenerationMoved) unless that still is the generation of the
// ruleset. A nil error means that it is committed; any other that nothing was
// done, except for ErrUncertain. ctx is looked at before the send only: a
// transaction cannot be called back. Errors wrap *BatchError where the kernel
// judged the batch, else ErrTooLarge, ErrPrivilege or an errno.
func (c *Conn) Commit(ctx context.Context, b *Batch, genID uint32) error {
	_, err := c.CommitAt(ctx, b, genID)
	return err
}

// CommitAt is Commit, and returns the generation that this commit made, which is
// what the next change, or a look for drift, is to be bound to: asking afterwards
// would answer with a stranger's commit too. It is genID where the batch had
// nothing to change (elements that are there already). It is 0, for "not known",
// after an error, and where the kernel did not say: for a batch that begins with
// a deletion other than of elements, or with a flush.
//
// A batch of one to twenty elements takes some 20 microseconds, whatever the size
// of the set, for adding, deleting and replacing alike: the kernel waits for no
// grace period. A batch that it refuses for one of its operations takes some
// milliseconds: there it does.
func (c *Conn) CommitAt(ctx context.Context, b *Batch, genID uint32) (after uint32, err error) {
	if b.err != nil {
		return 0, fmt.Errorf("build a batch for %s: %w; nothing was changed", c.where(), b.err)
	}
	if len(b.ops) == 0 {
		return genID, nil
	}
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("commit to %s: %w; nothing was changed", c.where(), err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd == nil {
		return 0, fmt.Errorf("commit to %s: %w", c.where(), os.ErrClosed)
	}
	after, err = c.cmd.commit(b, genID)
	if err != nil {
		return 0, fmt.Errorf("commit %d operations to %s: %w", len(b.ops), c.where(), err)
	}
	return after, nil
}

func (s *socket) commit(b *Batch, genID uint32) (after uint32, err error) {
	// What an abandoned request left behind must not look like an answer.
	if stale := s.answersTo(b); stale.err != nil {
		return 0, stale.err
	}
	limit, err := s.growSendQueue(b.Len())
	if err != nil {
		return 0, err
	}
	before := genID // or the kernel refuses
	if before == 0 {
		before, err = s.generation(context.Background())
		if err != nil {
			return 0, explain("ask for the generation first; nothing was changed", "nf_tables", err)
		}
	}
	begin, at := appendHeader(s.begin[:0], unix.NFNL_MSG_BATCH_BEGIN, unix.NLM_F_REQUEST, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
	if genID != 0 {
		begin = appendU32(begin, batchAttrGenID, genID)
	}
	closeMessage(begin, at)
	end, at := appendHeader(s.end[:0], unix.NFNL_MSG_BATCH_END, unix.NLM_F_REQUEST, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
	closeMessage(end, at)
	if err := s.send(begin, b.buf, end); err != nil {
		return 0, sendError(err, b.Len(), limit)
	}
	a := s.answersTo(b)
	switch {
	case a.err != nil: // unreadable answers: there were some, so it failed; say so carefully
		return 0, fmt.Errorf("%w: %w", ErrUncertain, a.err)
	case a.first != nil: // one error is enough: the kernel aborts the whole batch
		return 0, a.first
	case a.generation != 0:
		return a.generation, nil
	case a.lost:
		return 0, s.afterLoss(before)
	case b.echoes():
		return genID, nil // it would have told of a new one: there was nothing to change
	}
	return 0, nil
}

// afterLoss decides what became of a batch whose answers the kernel could not
// deliver (ENOBUFS). A batch that is committed has no answers at all, as none
// are asked for, and a refused one has errors, of which the first fit any queue;
// so this is a loss that should not be possible, and the generation decides.
func (s *socket) afterLoss(before uint32) error {
	after, err := s.generation(context.Background())
	switch {
	case err != nil:
		return fmt.Errorf("%w: the answers were lost (%w), and so was the generation: %w", ErrUncertain, unix.ENOBUFS, err)
	case after == before:
		return fmt.Errorf("%w: the answers were lost; the generation did not move: nothing was changed", unix.ENOBUFS)
	case after == before+1:
		return nil
	}
	return fmt.Errorf("%w: the answers were lost (%w), and the generation went from %d to %d", ErrUncertain, unix.ENOBUFS, before, after)
}

// batchAnswers is what the queue holds after a batch was sent.
type batchAnswers struct {
	first      *BatchError // the first error
	generation uint32      // NFT_MSG_NEWGEN of the batch, echoed; 0 if there is none
	lost       bool        // the kernel had to throw answers away
	err        error       // an answer could not be read
}

// answersTo empties the queue.
func (s *socket) answersTo(b *Batch) (a batchAnswers) {
	for {
		data, err := s.recvNow()
		switch {
		case err == unix.EAGAIN:
			return a
		case err == unix.ENOBUFS:
			a.lost = true
			continue
		case err != nil:
			a.err = err
			return a
		}
		if err := split(data, func(m message) error { return a.take(b, m) }); err != nil && a.err == nil {
			a.err = err
		}
	}
}

// take takes one message.
func (a *batchAnswers) take(b *Batch, m message) error {
	switch {
	case m.typ == unix.NLMSG_ERROR && m.seq <= uint32(len(b.ops)):
		e, err := parseError(m)
		if err == nil && e.errno != 0 && a.first == nil {
			a.first = b.errorAt(m.seq, e)
		}
		return err
	case m.typ == nftType|unix.NFT_MSG_NEWGEN && m.seq == 1 && b.echoes():
		id, err := generationID(m.payload)
		a.generation = id
		return err
	}
	return nil // an announcement of what was changed
}

// errorAt makes the error of the message with sequence number seq; 0 is the
// batch as a whole.
func (b *Batch) errorAt(seq uint32, e kernelError) *BatchError {
	out := &BatchError{Errno: e.errno, Kernel: e.text}
	verdictOf(out, seq == 0)
	if seq == 0 {
		return out
	}
	op := b.ops[seq-1]
	out.Operation = op.String()
	if e.offs > 0 && op.n > 0 {
		end := len(b.buf)
		if int(seq) < len(b.ops) {
			end = b.ops[seq].at
		}
		out.Key = elementKeyAt(b.buf[op.at:end], int(e.offs))
	}
	return out
}

// verdictOf finds the sentinel and the hint for an errno.
func verdictOf(e *BatchError, whole bool) {
	switch e.Errno {
	case unix.ERESTART:
		e.sentinel = ErrGenerationMoved
	case unix.EPERM:
		e.sentinel = ErrOwned
		if whole {
			e.sentinel = ErrPrivilege
		}
	case unix.ENOENT:
		e.sentinel, e.Hint = ErrNotFound, "the object, or one that it refers to, does not exist, or the element's timeout ran out"
		return
	case unix.EEXIST:
		e.Hint = "it exists already and is different, or overlaps one that exists"
		return
	case unix.EBUSY:
		e.Hint = "it is in use: something still refers to it, or it exists with other properties"
		return
	case unix.ENFILE:
		e.Hint = "the set is full (size)"
		return
	case unix.ENOMEM, unix.ENOBUFS:
		e.Hint = "the kernel is out of memory for it"
		return
	case unix.EMLINK, unix.ELOOP:
		e.Hint = "the chains call each other in a loop, or too deep"
		return
	case unix.EOPNOTSUPP:
		e.Hint = "this kernel does not support it here"
		return
	}
	if e.sentinel != nil {
		e.Hint = e.sentinel.Error()
	}
}

// elementKeyAt finds the key of the element whose attribute begins at offs.
func elementKeyAt(msg []byte, offs int) []byte {
	if offs < 0 || offs >= len(msg) {
		return nil
	}
	in := walk(msg[offs:])
	var e ruleset.Element
	if in.next() && in.typ == nftaListElem {
		var d elementDecoder
		_ = d.element(in.val, &e) // as far as it goes: it is for an error's text
	}
	return e.Key
}

// sendError explains why the batch did not reach the kernel.
func sendError(err error, n, limit int) error {
	switch {
	case errors.Is(err, unix.EMSGSIZE):
		return fmt.Errorf("send %d bytes: %w: %w: the socket may send %d", n, ErrTooLarge, err, limit)
	case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
		// netlink_sendmsg() allocates before it delivers.
		return fmt.Errorf("send %d bytes: %w: the kernel has no memory for a message of this size; nothing was changed", n, err)
	}
	return fmt.Errorf("send %d bytes: %w; nothing was changed", n, err)
}
