import { Column, Entity, PrimaryColumn } from 'typeorm';

@Entity('orders')
export class OrderEntity {
  @PrimaryColumn({ type: 'text' })
  id!: string;

  @Column({ name: 'last_seq', type: 'integer' })
  lastSeq!: number;
}
