// A session of the AWS SDK for JavaScript v3: client, document client, waiters, paginators. The endpoint and the
// credentials come from the environment.
import assert from 'node:assert/strict'
import {
  CreateTableCommand, DeleteTableCommand, DescribeTimeToLiveCommand, DynamoDBClient, UpdateTimeToLiveCommand,
  waitUntilTableExists, waitUntilTableNotExists,
} from '@aws-sdk/client-dynamodb'
import {
  BatchGetCommand, BatchWriteCommand, DeleteCommand, DynamoDBDocumentClient, GetCommand, PutCommand, QueryCommand,
  UpdateCommand, paginateQuery, paginateScan,
} from '@aws-sdk/lib-dynamodb'

const TableName = 'Sdk-JavaScript'
const client = new DynamoDBClient({})
const documents = DynamoDBDocumentClient.from(client, { marshallOptions: { removeUndefinedValues: true } })
const waiter = { client, maxWaitTime: 30, minDelay: 1, maxDelay: 1 }

await client.send(new CreateTableCommand({
  TableName,
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: [
    { AttributeName: 'team', AttributeType: 'S' },
    { AttributeName: 'player', AttributeType: 'S' },
    { AttributeName: 'score', AttributeType: 'N' },
  ],
  KeySchema: [{ AttributeName: 'team', KeyType: 'HASH' }, { AttributeName: 'player', KeyType: 'RANGE' }],
  GlobalSecondaryIndexes: [{
    IndexName: 'scores',
    KeySchema: [{ AttributeName: 'team', KeyType: 'HASH' }, { AttributeName: 'score', KeyType: 'RANGE' }],
    Projection: { ProjectionType: 'ALL' },
  }],
}))
await waitUntilTableExists(waiter, { TableName })

const player = (index) => ({
  team: 'red', player: `p${String(index).padStart(3, '0')}`, score: index * 10, tags: new Set(['x', `t${index}`]),
  history: [{ at: index, ok: true, none: null }], photo: new Uint8Array([1, 2, 3]),
})
await documents.send(new PutCommand({ TableName, Item: player(0) }))
for (const start of [1, 26]) {
  const requests = Array.from({ length: 25 }, (_, index) => ({ PutRequest: { Item: player(start + index) } }))
  const answer = await documents.send(new BatchWriteCommand({ RequestItems: { [TableName]: requests } }))
  assert.deepEqual(answer.UnprocessedItems, {})
}

const read = await documents.send(new GetCommand({ TableName, Key: { team: 'red', player: 'p007' }, ConsistentRead: true }))
assert.deepEqual(read.Item.tags, new Set(['x', 't7']))
assert.deepEqual(read.Item.history, [{ at: 7, ok: true, none: null }])
assert.deepEqual(Array.from(read.Item.photo), [1, 2, 3])

const pages = []
const query = { TableName, KeyConditionExpression: 'team = :t', ExpressionAttributeValues: { ':t': 'red' } }
for await (const page of paginateQuery({ client: documents, pageSize: 20 }, query)) pages.push(page.Items.length)
assert.deepEqual(pages.filter((length) => length > 0), [20, 20, 11])
let scanned = 0
for await (const page of paginateScan({ client: documents, pageSize: 7 }, { TableName })) scanned += page.Count
assert.equal(scanned, 51)

await assert.rejects(
  documents.send(new PutCommand({
    TableName, Item: player(1), ConditionExpression: 'attribute_not_exists(player)',
    ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
  })),
  (error) => error.name === 'ConditionalCheckFailedException' && error.message === 'The conditional request failed' &&
    error.Item.score.N === '10' && error.$metadata.httpStatusCode === 400,
)
await assert.rejects(documents.send(new GetCommand({ TableName, Key: { team: 'red' } })),
  { name: 'ValidationException', message: 'The provided key element does not match the schema' })

const updated = await documents.send(new UpdateCommand({
  TableName, Key: { team: 'red', player: 'p001' }, UpdateExpression: 'SET score = score + :five, #h = list_append(#h, :more)',
  ExpressionAttributeNames: { '#h': 'history' }, ExpressionAttributeValues: { ':five': 5, ':more': ['again'] },
  ReturnValues: 'ALL_NEW',
}))
assert.equal(updated.Attributes.score, 15)
assert.equal(updated.Attributes.history.length, 2)

const batch = await documents.send(new BatchGetCommand({
  RequestItems: { [TableName]: { Keys: [{ team: 'red', player: 'p001' }, { team: 'red', player: 'none' }], ConsistentRead: true } },
}))
assert.equal(batch.Responses[TableName].length, 1)

// The index follows by itself.
const deadline = Date.now() + 30_000
for (;;) {
  const found = await documents.send(new QueryCommand({
    TableName, IndexName: 'scores', KeyConditionExpression: 'team = :t AND score < :s',
    ExpressionAttributeValues: { ':t': 'red', ':s': 30 }, ScanIndexForward: false,
  }))
  if (JSON.stringify(found.Items.map((item) => item.score)) === '[20,15,0]') break
  assert.ok(Date.now() < deadline, `the index answers ${JSON.stringify(found.Items)}`)
}

await client.send(new UpdateTimeToLiveCommand({
  TableName, TimeToLiveSpecification: { Enabled: true, AttributeName: 'expires' },
}))
const ttl = await client.send(new DescribeTimeToLiveCommand({ TableName }))
assert.equal(ttl.TimeToLiveDescription.AttributeName, 'expires')

const deleted = await documents.send(new DeleteCommand({ TableName, Key: { team: 'red', player: 'p002' }, ReturnValues: 'ALL_OLD' }))
assert.equal(deleted.Attributes.score, 20)
await client.send(new DeleteTableCommand({ TableName }))
await waitUntilTableNotExists(waiter, { TableName })
console.log('javascript: every step as documented')
