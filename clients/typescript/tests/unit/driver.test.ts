// A driver's positions: the newest while there is a connection, those of an outage by HTTP.

import { beforeEach, describe, expect, test, vi } from 'vitest';
import { driver, type Fix } from '../../src/driver.js';
import { online, pass, setup, useFakeTime } from '../support/setup.js';

useFakeTime();

const fix = (lat: number): Fix => ({ lat, lng: 13 });
const answers = (status: number, headers: Record<string, string> = {}) => ({
  status,
  headers: { get: (name: string) => headers[name] ?? null },
});
const fetch = vi.fn();
const posted = () =>
  fetch.mock.calls.map(([, { body }]) => (JSON.parse(body) as { locations: Fix[] }).locations.map(({ lat }) => lat));

beforeEach(() => {
  fetch.mockReset().mockResolvedValue(answers(200));
  vi.stubGlobal('fetch', fetch);
});

const lats = (sent: { data: unknown }[]) => sent.map(({ data }) => (data as Fix).lat);

describe('while there is a connection', () => {
  test('the newest is sent, one at a time; what it replaces is not', async () => {
    const { hub, server } = await online();
    for (const lat of [1, 2, 3]) driver(hub).report(fix(lat), { orderIds: ['o1'] });
    await pass(50);
    expect(lats(server.heard('driver:location'))).toEqual([1, 3]);
    expect(server.heard('driver:location')[0]!.data).toEqual({
      lat: 1,
      lng: 13,
      orderIds: ['o1'],
      recordedAt: '2026-11-30T12:00:00.050Z',
    });
    expect(driver(hub).lastAccepted).toMatchObject({ fix: { lat: 3 }, accepted: 1, rejected: [] });
    expect(fetch).not.toHaveBeenCalled();
  });

  test('a reading of the platform is understood', async () => {
    const { hub, server } = await online();
    const coords = { latitude: 1, longitude: 2, accuracy: 5, heading: null, speed: 3, altitude: null };
    driver(hub).report({ coords, timestamp: 1_700_000_000_000 });
    await pass(50);
    expect(server.heard('driver:location')[0]!.data).toMatchObject({
      lat: 1,
      lng: 2,
      accuracy: 5,
      speed: 3,
      recordedAt: 1_700_000_000_000,
    });
  });

  test('a refusal is a state until the next one is taken', async () => {
    const { hub, server } = await online();
    const told = vi.fn();
    driver(hub).subscribe(told);
    server.answer = () => ({ code: 'order_closed', message: '' });
    driver(hub).report(fix(1));
    await pass(50);
    expect(driver(hub).state).toMatchObject({ error: { code: 'order_closed' } });
    expect(told).toHaveBeenCalledTimes(1);
    server.answer = () => undefined;
    driver(hub).report(fix(2));
    await pass(50);
    expect(driver(hub).state.error).toBeUndefined();
  });

  test('it is never paused while positions are reported, and may rest two minutes later', async () => {
    const { hub, lifecycle } = await online();
    driver(hub).report(fix(1));
    lifecycle.tell('background');
    await pass(119_000);
    expect(hub.state.status).toBe('online');
    driver(hub).report(fix(1));
    await pass(119_000);
    expect(hub.state.status).toBe('online');
    await pass(2_000);
    expect(hub.state.status).toBe('paused');
    driver(hub).report(fix(2));
    await pass(50);
    expect(hub.state.status).toBe('online');
    driver(hub).stop();
    expect(hub.state.status).toBe('paused');
  });
});

test('nothing is left of it when the hub is closed', async () => {
  const { hub } = await online();
  driver(hub).report(fix(1));
  await pass(50);
  hub.close();
  await pass(50);
  expect(vi.getTimerCount()).toBe(0);
});

describe('after an outage', () => {
  test('without a buffer nothing old is sent', async () => {
    const { hub, server } = await online();
    driver(hub);
    server.cut();
    driver(hub).report(fix(1));
    await pass(1_000);
    expect(server.heard('driver:location')).toEqual([]);
    expect(fetch).not.toHaveBeenCalled();
  });

  const outage = async (...lats: number[]) => {
    const made = await online({ url: 'https://hub.example.com/hub' });
    const drive = driver(made.hub, { buffer: true });
    made.server.cut();
    for (const lat of lats) drive.report(fix(lat), { orderIds: ['o1'] });
    expect(drive.state.buffered).toBe(Math.min(lats.length, 1_000));
    return { ...made, drive };
  };

  test('with a buffer it is posted, and nothing of it is sent live', async () => {
    const { server, drive } = await outage(1, 2, 3);
    await pass(1_000);
    const [url, request] = fetch.mock.calls[0]!;
    expect(url).toBe('https://hub.example.com/hub/api/v1/drivers/me/locations');
    expect(request.headers).toMatchObject({ authorization: 'Bearer ana.1.x' });
    expect(posted()).toEqual([[1, 2, 3]]);
    expect(server.heard('driver:location')).toEqual([]);
    expect(drive.state.buffered).toBe(0);
  });

  test('one whose answer was lost is posted too', async () => {
    const { hub, server } = await online();
    const drive = driver(hub, { buffer: true });
    server.stall();
    drive.report(fix(7));
    await pass(10);
    server.last.isDead = false;
    server.last.end(1006);
    await pass(1_000);
    expect(posted()).toEqual([[7]]);
  });

  test('the newest thousand are kept', async () => {
    const { drive } = await outage(...Array.from({ length: 1_200 }, (_, n) => n));
    await pass(1_000);
    expect(posted()[0]).toHaveLength(1_000);
    expect(posted()[0]![0]).toBe(200);
    expect(drive.state.buffered).toBe(0);
  });

  test('a token that is refused is asked for once more', async () => {
    fetch.mockResolvedValueOnce(answers(401));
    const { getToken } = await outage(1);
    await pass(1_000);
    expect(fetch).toHaveBeenCalledTimes(2);
    expect(getToken).toHaveBeenLastCalledWith({ reason: 'refused' });
  });

  test.each([
    [429, { 'retry-after': '7' }, 7_000],
    [503, {}, 30_000],
    [401, {}, 30_000],
  ])('%d %j is posted again later, with what has come meanwhile', async (status, headers, pause) => {
    fetch.mockResolvedValueOnce(answers(status, headers));
    if (status === 401) fetch.mockResolvedValueOnce(answers(status, headers));
    const { drive } = await outage(1);
    await pass(1_000);
    const before = fetch.mock.calls.length;
    expect(drive.state.buffered).toBe(1);
    await pass(pause - 2_000);
    expect(fetch.mock.calls.length).toBe(before);
    await pass(2_000);
    expect(fetch.mock.calls.length).toBe(before + 1);
    expect(drive.state.buffered).toBe(0);
  });

  test('a network that fails is tried again', async () => {
    fetch.mockRejectedValueOnce(new TypeError('Network request failed'));
    const { drive } = await outage(1);
    await pass(31_000);
    expect(drive.state.buffered).toBe(0);
  });

  test('what would be refused again is dropped', async () => {
    fetch.mockResolvedValue(answers(422));
    const { drive } = await outage(1);
    await pass(60_000);
    expect(fetch).toHaveBeenCalledTimes(1);
    expect(drive.state.buffered).toBe(0);
  });

  test("another user's is never posted", async () => {
    const { server } = await outage(1);
    server.user = () => 'ben';
    await pass(1_000);
    expect(fetch).not.toHaveBeenCalled();
  });

  test('nothing is posted before there is a connection', async () => {
    const { hub } = setup();
    driver(hub, { buffer: true }).report(fix(1));
    await pass(60_000);
    expect(fetch).not.toHaveBeenCalled();
    hub.connect();
    await pass(100);
    expect(posted()).toEqual([[1]]);
  });
});
