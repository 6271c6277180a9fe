"""One line: what goes out when the socket is full, and how it ends."""

from __future__ import annotations

import os
import socket

import pytest

from ray_on_dask.wire import messages as m
from ray_on_dask.wire.channel import Channel, connect, listen, peer_is_ours
from ray_on_dask.wire.frames import FrameReader, pack
from ray_on_dask.wire.reactor import Waiter

BIG = m.Push(1, [m.Task(b"t", b"f", m.Value(m.INLINE, bytes(3 << 20)))])


def read_all(sock, count):
    """So many messages, as the other end reads them."""
    reader, found = FrameReader(), []
    while len(found) < count:
        data = sock.recv(1 << 16)
        assert data, "the line was closed"
        found += reader.feed(data)
    return found


def test_a_message_is_on_its_way_when_send_returns(party):
    channel, other = party.connect()
    channel.send(m.Sync(1))
    channel.send_all([m.Sync(2), m.Sync(3)])
    channel.send_all([])
    assert read_all(other, 3) == [m.Sync(1), m.Sync(2), m.Sync(3)]


def test_more_than_the_socket_takes_is_kept_and_goes_out_in_order(party, run):
    """Nobody reads the other end yet: `send` must return all the same."""
    channel, other = party.connect()
    for number in range(3):
        channel.send(m.Sync(number))
        channel.send(BIG)
    found = []
    waiter = Waiter()

    def read():
        found.extend(read_all(other, 6))
        waiter.finish()
        party.reactor.wake()

    run(read)
    assert party.reactor.wait(waiter, 5.0)
    assert [type(message) for message in found] == [m.Sync, m.Push] * 3
    assert [message.token for message in found[::2]] == [0, 1, 2]


def test_many_threads_send_whole_messages(party, run):
    channel, other = party.connect()
    party.reactor.start()

    def send(base):
        for number in range(200):
            channel.send(m.Sync(base + number))

    for base in range(0, 1000, 250):
        run(send, base)
    found = [message.token for message in read_all(other, 800)]
    for base in range(0, 1000, 250):
        mine = [token for token in found if base <= token < base + 250]
        assert mine == list(range(base, base + 200)), "out of order, or lost"


def test_flush_waits_until_all_is_written(party, run):
    channel, other = party.connect()
    channel.send(BIG)
    assert not channel.flush(0.0)
    run(read_all, other, 1)
    assert channel.flush(5.0)


def test_flush_gives_up_when_the_peer_is_gone(party):
    """An executor ends while its owner is dead: it must not spin on the line for ever."""
    channel, other = party.connect()
    channel.send(BIG)
    other.close()
    channel.flush(5.0)
    party.poll()
    assert party.closed == [channel]


def test_when_the_peer_goes_on_close_is_called_once(party):
    channel, other = party.connect()
    other.close()
    party.poll()
    channel.close()
    party.poll()
    assert party.closed == [channel] and channel.closed
    channel.send(m.Sync(1))


def test_last_words_are_heard_before_the_end(party):
    channel, other = party.connect()
    other.sendall(pack(m.Sync(1)))
    other.close()
    party.poll(), party.poll()
    assert party.messages == [m.Sync(1)] and party.closed == [channel]


def test_a_send_that_finds_the_peer_gone_closes_the_line_in_the_poll(party):
    """`send` may be called under locks that `on_close` wants: it must not call it itself."""
    channel, other = party.connect()
    other.close()
    channel.send(m.Sync(1))
    assert party.closed == []
    party.poll()
    assert party.closed == [channel]


def test_closing_ourselves_tells_nobody_but_the_peer(party):
    channel, other = party.connect()
    channel.close()
    channel.close()
    party.poll()
    assert party.closed == []
    assert other.recv(1) == b""


def test_a_socket_in_the_file_system_is_for_this_user_alone(party, tmp_path):
    path = str(tmp_path / "s")
    listener = listen(path)
    assert os.stat(path).st_mode & 0o777 == 0o600
    accepted = []
    party.reactor.listen(listener, accepted.append)
    sock = connect(path)
    party.poll()
    assert len(accepted) == 1 and peer_is_ours(accepted[0])
    channel = Channel(accepted[0], party.reactor, party.on_messages, party.closed.append)
    sock.send(pack(m.Sync(1)))
    party.poll()
    assert party.messages == [m.Sync(1)]
    channel.close()
    sock.close()


def test_strangers_are_turned_away(party, tmp_path, monkeypatch):
    monkeypatch.setattr("ray_on_dask.wire.reactor.peer_is_ours", lambda sock: False)
    listener = listen(str(tmp_path / "s"))
    accepted = []
    party.reactor.listen(listener, accepted.append)
    sock = connect(str(tmp_path / "s"))
    party.poll()
    sock.settimeout(5.0)
    assert sock.recv(1) == b"" and accepted == []
    sock.close()


def test_nobody_there_is_an_os_error_and_leaves_no_descriptor(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError):
        connect(str(tmp_path / "nobody"))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "deaf"))
    with pytest.raises(OSError):
        connect(str(tmp_path / "deaf"))
    listener.close()
    assert len(os.listdir("/proc/self/fd")) == before
