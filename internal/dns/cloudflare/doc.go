// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package cloudflare is Cloudflare DNS as a dns.Provider, by its REST interface v4.
//
// One value is one record there; a record set is all records of a name and type.
// A batch happens as a whole or not at all, but nothing in it compares: there are
// no ETags and no conditions. What stands in for them:
//
//   - Within one Provider, writes to a zone happen one after another.
//   - Right before each batch everything it touches is read again, with ids and
//     times of modification, and compared with what was observed.
//   - A batch that deletes a record which is gone, or creates one that is there,
//     fails. So whenever data is written whose mark stays, the mark is deleted and
//     made again in the same batch, and gets another id: of two clusters that both
//     compared before either wrote, the second finds the mark gone.
//   - Afterwards what was deleted is compared with what should have been, and
//     everything is read once more. What does not fit is reported as ErrStale,
//     although the batch has happened.
//
// What remains are the milliseconds between the second reading and the batch, and
// in them these cases:
//
//   - Two writers create at a name where nothing is: both records come to be. The
//     later of the two readings afterwards finds it. Both marks are then in one
//     set, of which every cluster takes the same one as valid; its owner takes away
//     the rest.
//   - Somebody who does not keep marks edits a record of ours: a change of its
//     value, TTL or comment is lost unseen where we change that record too; its
//     other settings are kept, since only value, TTL and comment are sent. Where we
//     delete the record, the edit is found afterwards.
//   - Somebody adds a record beside ours: it stays, and is found afterwards.
//
// A record is proxied where its name was proxied before, and not otherwise: the
// setting is the user's. Cloudflare ignores the TTL of proxied records, so the
// wanted one is kept in the comment, beside the owner and the resource as in the
// mark. Automatic TTLs are 300 seconds, and are seen so.
package cloudflare
